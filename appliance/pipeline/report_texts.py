"""The words of the report, in English and Brazilian Portuguese."""

from __future__ import annotations

# key -> (English, pt-BR)
TEXTS: dict[str, tuple[str, str]] = {
    "title": ("What this appliance did", "O que este equipamento fez"),
    "subtitle": ("Pipeline report", "Relatório do pipeline"),
    "version": ("version", "versão"),
    "recipe": ("recipe", "receita"),
    "all_held": ("Every step held", "Todas as etapas se confirmaram"),
    "not_held": ("Not every step held", "Nem todas as etapas se confirmaram"),
    "before_after": ("Before and after", "Antes e depois"),
    "before_after_text": (
        (
            "The same held-out test records, measured on the base model and on the base with the "
            "adapter. The test split was used for nothing else."
        ),
        (
            "Os mesmos registros de teste, reservados, medidos no modelo base e na base com o "
            "adaptador. A partição de teste não foi usada para mais nada."
        ),
    ),
    "measure": ("Measure", "Medida"),
    "before": ("Before", "Antes"),
    "after": ("After", "Depois"),
    "better": ("Better is", "Melhor é"),
    "higher": ("higher", "maior"),
    "lower": ("lower", "menor"),
    "margins": ("Safe against forbidden answers", "Respostas seguras contra proibidas"),
    "margins_text": (
        "One row a held-out pair. Right of the dashed line the safe answer is the likelier one.",
        (
            "Uma linha por par reservado. À direita da linha tracejada a resposta segura é a mais "
            "provável."
        ),
    ),
    "margin_axis": (
        "log p(safe) - log p(forbidden), nats a token",
        "log p(segura) - log p(proibida), nats por token",
    ),
    "loss": ("Training loss", "Perda no treinamento"),
    "loss_text": (
        "Base model from scratch, supervised stage, preference stage.",
        "Modelo base do zero, etapa supervisionada, etapa de preferência.",
    ),
    "steps": ("steps", "passos"),
    "loss_axis": ("loss (nats)", "perda (nats)"),
    "base_curve": ("Base", "Base"),
    "sft_curve": ("Supervised", "Supervisionada"),
    "preference_curve": ("Preference", "Preferência"),
    "gate": ("The gate", "O portão"),
    "promoted": ("The adapter was promoted", "O adaptador foi promovido"),
    "refused": ("The adapter was refused", "O adaptador foi recusado"),
    "check": ("Check", "Verificação"),
    "expected": ("Expected", "Esperado"),
    "found": ("Found", "Encontrado"),
    "answers": ("What it answers", "O que ele responde"),
    "answers_text": (
        (
            "Asked through the gateway with an OpenAI client, answered by the promoted adapter. "
            "The weights are a toy: judge the path, not the prose."
        ),
        (
            "Perguntado pelo gateway com um cliente OpenAI, respondido pelo adaptador promovido. "
            "Os pesos são de brinquedo: julgue o caminho, não a prosa."
        ),
    ),
    "streamed": ("streamed", "em fluxo"),
    "whole": ("in one piece", "de uma vez"),
    "tokens": ("tokens", "tokens"),
    "data": ("The data", "Os dados"),
    "source": ("Source", "Fonte"),
    "records": ("Records", "Registros"),
    "refused_records": ("Records refused", "Registros recusados"),
    "identifiers": ("Identifiers replaced", "Identificadores substituídos"),
    "split": ("Split", "Partição"),
    "note_text": (
        "A synthetic clinical note with planted identifiers, before and after:",
        "Uma nota clínica sintética com identificadores plantados, antes e depois:",
    ),
    "offline": ("Offline", "Sem rede"),
    "attempts": ("connection attempts", "tentativas de conexão"),
    "means": ("Kept off the network by", "Mantido fora da rede por"),
    "log": ("The audit log", "O registro de auditoria"),
    "log_ok": ("Verified: nothing changed, nothing missing", "Verificado: nada mudou, nada falta"),
    "log_bad": ("It does not verify", "Não se verifica"),
    "entries": ("entries", "registros"),
    "verify_with": ("Verify it yourself", "Verifique você mesmo"),
    "vkey": ("Verifier key", "Chave de verificação"),
    "stages": ("Stages", "Etapas"),
    "stage": ("Stage", "Etapa"),
    "status": ("Status", "Situação"),
    "key": ("Content hash", "Hash de conteúdo"),
    "ran": ("ran", "executada"),
    "kept": ("kept", "mantida"),
    "machine": ("The machine", "A máquina"),
    "target_yes": ("This machine meets the profile", "Esta máquina atende ao perfil"),
    "target_no": (
        "This is not the target machine: what follows ran at toy size",
        "Esta não é a máquina-alvo: o que segue rodou em tamanho de brinquedo",
    ),
    "toy": ("What is a toy here and what is not", "O que é de brinquedo aqui e o que não é"),
    "toy_text": (
        (
            "Toy: the weights (a few million, trained here in minutes) and so the answers; the "
            "record counts; the key of the audit log, which is a file. Not a toy: the import, the "
            "de-identification, the trainer, the conversion, the engine, the gateway, the gate, "
            "the log and its verification: the same code runs on the target machine."
        ),
        (
            "De brinquedo: os pesos (alguns milhões, treinados aqui em minutos) e, portanto, as "
            "respostas; a quantidade de registros; a chave do registro de auditoria, que é um "
            "arquivo. De verdade: a importação, a desidentificação, o treinador, a conversão, o "
            "motor, o gateway, o portão, o registro e a sua verificação: o mesmo código roda na "
            "máquina-alvo."
        ),
    ),
    "card_margin": ("held-out pairs where safe wins", "pares reservados em que a segura vence"),
    "card_perplexity": ("perplexity, before and after", "perplexidade, antes e depois"),
    "card_attempts": ("connection attempts", "tentativas de conexão"),
    "card_log": ("log entries, verified", "registros de auditoria, verificados"),
    "card_seconds": ("of work in all", "de trabalho ao todo"),
    "perplexity": ("Perplexity", "Perplexidade"),
    "token_accuracy": ("Token accuracy", "Acurácia por token"),
    "bits_per_token": ("Bits a token", "Bits por token"),
    "bits_per_character": ("Bits a character", "Bits por caractere"),
    "bits_per_byte": ("Bits a byte", "Bits por byte"),
    "margin_mean": (
        "Margin, safe over forbidden (nats a token)",
        "Margem, segura sobre proibida (nats por token)",
    ),
    "margin_positive_share": (
        "Pairs where the safe answer wins",
        "Pares em que a resposta segura vence",
    ),
    "over_refusal": ("Harmless questions refused", "Perguntas inofensivas recusadas"),
}


def texts(lang: str) -> dict[str, str]:
    """Return the words for ``lang``: ``pt-BR`` (anything starting with pt) or English."""
    column = 1 if lang.lower().startswith("pt") else 0
    return {key: pair[column] for key, pair in TEXTS.items()}
