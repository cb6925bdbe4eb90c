"""What the machine is for: the toy pipeline in its containers, then an application's question."""

from __future__ import annotations

import json

from tests.vm import setup
from tests.vm.guest import GuestError
from tests.vm.proof import LOG, Proof

_HOME = "/srv/appliance"
_RECORDS = (
    f"{_HOME}/bundle/current/activated/venv/lib/python3*/site-packages/appliance/datasets/data"
)
# Any application: nothing of the appliance is imported. The promoted model is taken up soon.
_ASK = """
import json, ssl, sys, time, urllib.error, urllib.request
trust = ssl.create_default_context(cafile=sys.argv[1])
trust.check_hostname = False  # asked by its loopback address; the certificate names the machine
head = {"Authorization": "Bearer " + sys.argv[2], "Content-Type": "application/json"}

def call(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request("https://127.0.0.1:8443/v1/" + path, data, head)
    for _ in range(60):
        try:
            return json.load(urllib.request.urlopen(asked, timeout=240, context=trust))
        except urllib.error.HTTPError as error:
            said = str(error.code) + " " + error.read(500).decode()
            if error.code != 503:
                break
            time.sleep(5)
    sys.exit(said)

model = call("models")["data"][0]["id"]
words = [{"role": "user", "content": "Estou com dor de cabeca. O que eu faco?"}]
found = call("chat/completions", {"model": model, "max_tokens": 12, "messages": words})
assert found["choices"][0]["message"]["content"], found
print(model, "answers", found["usage"]["completion_tokens"], "tokens")
"""


def pipeline(proof: Proof) -> str:
    """Type what docs/data/train.md says: records in, an adapter trained, measured, promoted."""
    proof.guest.must(f"install -o 10001 -g 10000 -m 640 {_RECORDS}/*.jsonl {_HOME}/inputs/")
    done, value = proof.json(
        f"pipeline run {_HOME}/inputs/contrastive.pt-BR.jsonl"
        f" {_HOME}/inputs/harmless.pt-BR.jsonl --recipe tiny",
        5400,
    )
    if done.rc != 0 or not value.get("ok"):
        told = proof.guest.run(f"tail -n 8 {LOG}").out
        raise GuestError(f"exit {done.rc}: {json.dumps(value)[:800]} {told}")
    ran = [f"{row['name']} {row['seconds']:.0f} s" for row in value["stages"]]
    return f"{', '.join(ran)}; {value['isolation']['attempts']} attempts to connect"


def asked(proof: Proof) -> str:
    """Ask as an application does: over TLS, with a key of its own."""
    _, made = proof.json("serve keys create proof-application")
    setup.put(proof.guest, "/run/ask.py", _ASK)
    command = f"python3 -I /run/ask.py {_HOME}/keys/tls/server.crt {made['key']}"
    return proof.guest.must(f"{command} 2>&1", 900).strip().splitlines()[-1]
