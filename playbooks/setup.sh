#!/bin/sh
# The agent on a bare machine, from files that verify_bundle.py proved and laid out. As root.
# Run again it finishes what was interrupted. Nothing is fetched.
set -eu
umask 022
content=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
state=/var/lib/appliance-setup
venv=/opt/appliance/venv
list=/etc/apt/sources.list.d/appliance.list

[ "$(id -u)" = 0 ] || { echo "expected root; found $(id -un). To do: sudo sh $0" >&2; exit 1; }
[ -f "$content/../metadata/targets.json" ] || {
    echo "expected the signed list beside $content; found none. To do: verify_bundle.py with --into" >&2
    exit 1
}

echo "1/4 proving the packages and making their index"
mkdir -p "$state"
chmod 0755 "$state"
python3 -I "$content/playbooks/roles/apt_source/files/make_index.py" \
    "$content/debs" "$content/../metadata/targets.json" "$state/apt"
printf 'deb [trusted=yes] file:%s ./\n' "$state/apt" > "$list"

echo "2/4 installing what the agent needs"
only_ours() { apt-get -q -o "Dir::Etc::SourceList=$list" -o Dir::Etc::SourceParts=/dev/null "$@"; }
only_ours update
export DEBIAN_FRONTEND=noninteractive
# What a power cut left half-installed is finished first; on an untouched machine both do nothing.
dpkg --configure -a --force-confold || true
only_ours install -y --fix-broken
only_ours install -y --no-install-recommends python3-venv python3-apt libgomp1

echo "3/4 installing the agent"
# A power cut leaves files empty that pip and tar take for finished.
[ -e "$venv/.complete" ] || rm -rf "$venv" "$content/collections/ansible_collections"
python3 -m venv "$venv"
# This copy of the agent only provisions, verifies and installs: what the rest of it imports (the
# engine, the detectors) comes with the whole installation, in the encrypted volume.
from_bundle() { "$venv/bin/python" -m pip install -q --no-compile --no-index --no-cache-dir --find-links "$content/wheels" "$@"; }
from_bundle --no-deps hospital-ai-appliance
from_bundle ansible-core ansible-runner click cryptography docker packaging prometheus-client psutil \
    pydantic pyyaml requests rfc8785 securesystemslib tomli-w tuf
for archive in "$content"/collections/*.tar.gz; do
    [ -e "$archive" ] && tar -xzf "$archive" -C "$content/collections" --no-same-owner
done

echo "4/4 making the command appliance-setup"
cat > /usr/local/sbin/appliance-setup <<COMMAND
#!/bin/sh
# The agent before the first installation; its home is $state.
PATH=$venv/bin:\$PATH
APPLIANCE_CONTENT=$content
export PATH APPLIANCE_CONTENT
exec $venv/bin/appliance --home $state "\$@"
COMMAND
chmod 0755 /usr/local/sbin/appliance-setup
sync  # a power cut from here on loses nothing of it
: > "$venv/.complete"
sync
echo "Done. Next: the settings (docs/it/install.md, step 5)."
