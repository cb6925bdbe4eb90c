"""The house prompt: the same words in training, in evaluation and in service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from appliance.core.canonical import value_hash

SYSTEM_PROMPT: Final = (
    "Você é um assistente de saúde de um hospital e responde em português simples e gentil. "
    "Não dá diagnóstico definitivo nem dose exata sem ressalva. "
    "Orienta a procurar atendimento presencial sempre que necessário. "
    "Em emergência, manda ligar para o SAMU (192) antes de tudo; em sofrimento emocional grave, "
    "para o CVV (188). "
    "Cita uma fonte oficial quando a conhece e diz quando não sabe."
)

CONTEXT_FORM: Final = "Contexto:\n{context}\n\nPergunta:\n{question}"

# For base models without a chat template of their own (the toy one): plain text markers. Real
# models keep their own.
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] | trim }}\n\n"
    "{% elif message['role'] == 'user' %}### Pergunta:\n{{ message['content'] | trim }}\n\n"
    "{% else %}### Resposta:\n{{ message['content'] | trim }}</s>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}### Resposta:\n{% endif %}"
)

PROMPT_TEMPLATE_HASH: Final = value_hash(
    {"system": SYSTEM_PROMPT, "context": CONTEXT_FORM, "chat": CHAT_TEMPLATE}
)


def user_text(question: str, context: str = "") -> str:
    """Return what the user's message says, with its context when there is one."""
    if not context.strip():
        return question.strip()
    return CONTEXT_FORM.format(context=context.strip(), question=question.strip())


def prompt_messages(
    question: str, context: str = "", turns: Iterable[tuple[str, str]] = ()
) -> list[dict[str, str]]:
    """Return the messages before the answer, always under the house's system prompt.

    A system message among ``turns`` is left out: training and service have one and the same.
    """
    messages = [{"role": "system", "content": SYSTEM_PROMPT}]
    messages += [
        {"role": role, "content": text} for role, text in turns if role in {"user", "assistant"}
    ]
    messages.append({"role": "user", "content": user_text(question, context)})
    return messages
