"""What the plan says to people, in English and in Brazilian Portuguese."""

from __future__ import annotations

PLAN: dict[str, tuple[str, str]] = {
    "plan.intro": (
        (
            "{machine}: context {context}, users {users}, cache {cache}, prompt {prompt} tokens; "
            "speeds {basis}."
        ),
        (
            "{machine}: contexto {context}, usuários {users}, cache {cache}, pergunta de {prompt} "
            "tokens; velocidades {basis}."
        ),
    ),
    "basis.published": (
        "computed from published runs of these cards",
        "calculadas de medições publicadas destas placas",
    ),
    "basis.assumed": (
        "assumed from the nearest published card (run `hardware bench` on the machine)",
        "supostas pela placa publicada mais próxima (rode `hardware bench` na máquina)",
    ),
    "basis.measured": (
        "measured by `hardware bench` on this machine",
        "medidas por `hardware bench` nesta máquina",
    ),
    "basis.unknown": (
        "not known (run `hardware bench` on the machine)",
        "desconhecidas (rode `hardware bench` na máquina)",
    ),
    "plan.model": ("Model", "Modelo"),
    "plan.type": ("Type", "Tipo"),
    "plan.fits": ("Fits", "Cabe"),
    "plan.weights": ("Weights", "Pesos"),
    "plan.needs": ("Needs", "Precisa"),
    "plan.speed": ("Tokens/s (limit)", "Tokens/s (limite)"),
    "plan.first": ("First token", "Primeiro token"),
    "plan.fifty": ("50 tokens", "50 tokens"),
    "plan.users": ("Users", "Usuários"),
    "plan.context": ("Most context", "Contexto máximo"),
    "plan.train": ("Training (QLoRA)", "Treino (QLoRA)"),
    "plan.no_portuguese": (
        "Portuguese is not among its languages.",
        "O português não está entre os seus idiomas.",
    ),
    "plan.licence_unknown": (
        "Its licence is not known here: read it before use.",
        "A licença não é conhecida aqui: leia antes de usar.",
    ),
    "plan.context_short": (
        "It was made for contexts up to {most} tokens.",
        "Foi feito para contextos de até {most} tokens.",
    ),
    "plan.speed_unknown": (
        "The speed is not known: run `appliance hardware bench --model FILE` on this machine.",
        (
            "A velocidade não é conhecida: rode `appliance hardware bench --model ARQUIVO` nesta "
            "máquina."
        ),
    ),
    "plan.one_more": (
        (
            "{model} with one more card: fits {fits} as {quantisation}, {speed} tokens/s, "
            "{users} users, context {context}."
        ),
        (
            "{model} com mais uma placa: cabe {fits} em {quantisation}, {speed} tokens/s, "
            "{users} usuários, contexto {context}."
        ),
    ),
    "bench.name": ("Measurement", "Medida"),
    "bench.value": ("Now", "Agora"),
    "bench.last": ("Last run", "Última vez"),
    "bench.change": ("Change", "Mudança"),
    "bench.slower": ("SLOWER", "MAIS LENTO"),
    "bench.memory_copy": ("Memory, copied", "Memória, cópia"),
    "bench.memory_bandwidth": ("Memory, read", "Memória, leitura"),
    "bench.prompt_tokens_s": ("Reading a prompt", "Leitura da pergunta"),
    "bench.generate_tokens_s": ("Writing an answer", "Escrita da resposta"),
    "bench.disk_write": ("Disk, written and flushed", "Disco, escrita com descarga"),
    "bench.disk_flushes_s": ("Disk, flushes of 4 KiB", "Disco, descargas de 4 KiB"),
    "bench.hash_speed": ("SHA-256, one core", "SHA-256, um núcleo"),
    "bench.roofline": (
        (
            "Memory would allow {limit} tokens/s; {share} % of it was met. Prompts: {gflops} "
            "GFLOP/s."
        ),
        (
            "A memória permitiria {limit} tokens/s; {share} % foi atingido. Perguntas: {gflops} "
            "GFLOP/s."
        ),
    ),
    "bench.saved": ("Signed and saved: {path}", "Assinado e salvo: {path}"),
    "plan.class": ("Class", "Classe"),
    "plan.licence": ("Licence", "Licença"),
    "plan.languages": ("Languages", "Idiomas"),
}
