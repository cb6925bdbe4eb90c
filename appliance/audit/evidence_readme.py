"""The two guides that travel in an evidence zip."""

from __future__ import annotations

from typing import Final

PORTUGUESE: Final = """\
# Provas do registro de auditoria

Esta pasta responde a uma pergunta ao registro de auditoria (veja `manifest.json`) e permite que
qualquer pessoa confira a resposta sem confiar no hospital nem em quem a montou.

## Conferir

Com Python 3.8 ou mais novo, sem rede e sem instalar nada:

    python3 verify.py

`RESULTADO: VÁLIDO` (código de saída 0) quer dizer que tudo abaixo foi conferido. Qualquer outra
resposta (código 1) diz o que não confere.

Quem montou a pasta também pôs nela este verificador e as chaves. Para não depender disso, use o
seu próprio `verify.py` e as chaves que você guarda (o cartão do oficial de conformidade):

    python3 verify.py provas.zip --key "CHAVE DO REGISTRO" --witness "CHAVE DA TESTEMUNHA"

Para ler a lista numa planilha: `python3 verify.py --csv acessos.csv`.

## O que é conferido

1. O estado do registro (`part-*/checkpoint`) foi assinado pela chave do registro e, havendo
   testemunhas em `policy.json`, por elas também, com a hora em que o viram.
2. As entradas (`part-*/entries.bin`) são todas as do intervalo, sem lacuna: delas se recalcula a
   raiz assinada. Uma entrada alterada, tirada, trocada ou acrescentada muda a raiz.
3. O intervalo passa das duas bordas do período: a primeira entrada é anterior ao começo e a última
   é posterior ao fim. Por isso o período não foi encurtado.
4. A lista (`accesses.ndjson`) tem exatamente as entradas do intervalo que respondem à pergunta.
5. As provas individuais (`part-*/proofs/*.tlog-proof`, formato C2SP) conferem; outras ferramentas
   também as leem.

Se `manifest.json` diz `"kind": "inclusion"`, só as entradas da lista estão aqui: cada uma está no
registro, mas não se mostra que não há outras.

## O que está nas entradas

Nem texto clínico nem identificador de paciente: pacientes aparecem por pseudônimo. O intervalo
inclui acessos a outros pacientes, também por pseudônimo, e nomes de usuários da equipe: trate a
pasta como documento sigiloso.
"""

ENGLISH: Final = """\
# Evidence from the audit log

This folder answers one question to the audit log (see `manifest.json`), and lets anybody check the
answer without trusting the hospital or whoever put it together.

## Verify

With Python 3.8 or newer, no network, nothing to install:

    python3 verify.py --lang en

`RESULT: VALID` (exit code 0) means that everything below was checked. Any other answer (code 1)
says what does not hold.

Whoever made the folder also put this verifier and the keys into it. To depend on neither, use your
own `verify.py` and the keys you keep (the compliance officer's card):

    python3 verify.py evidence.zip --key "LOG KEY" --witness "WITNESS KEY" --lang en

To read the list in a spreadsheet: `python3 verify.py --csv accesses.csv`.

## What is checked

1. The log's state (`part-*/checkpoint`) was signed by the log's key and, where `policy.json` names
   witnesses, by them too, with the time at which they saw it.
2. The entries (`part-*/entries.bin`) are all those of the range, without a gap: the signed root is
   computed again from them. An entry changed, removed, swapped or added changes the root.
3. The range reaches past both borders of the period: its first entry is from before the start and
   its last from after the end. So the period was not narrowed.
4. The list (`accesses.ndjson`) has exactly the entries of the range that answer the question.
5. The single proofs (`part-*/proofs/*.tlog-proof`, C2SP format) verify; other tools read them too.

If `manifest.json` says `"kind": "inclusion"`, only the entries of the list are here: each is in
the log, but it is not shown that there are no others.

## What the entries hold

Neither clinical text nor a patient's identifier: patients appear under a pseudonym. The range
includes accesses to other patients, also pseudonymous, and the names of staff users: treat the
folder as confidential.
"""
