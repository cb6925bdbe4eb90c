#!/bin/sh
# Runs a command in a throwaway copy of this machine's root: an overlay in memory, in namespaces of
# its own. Kernel settings and devices cannot be changed from it; nothing of it is left.
#   overlay.sh FOLDER PROJECT COMMAND...
set -eu
folder=$1
project=$2
shift 2
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
mount -t proc proc "$folder/root/proc"
mount --bind "$folder/root/proc/sys" "$folder/root/proc/sys"
mount -o remount,ro,bind "$folder/root/proc/sys"
mount -t tmpfs tmpfs "$folder/root/dev" # its own names under /dev/disk; only harmless devices
for device in null zero full random urandom tty; do cp -a "/dev/$device" "$folder/root/dev/"; done
cp -a /dev/loop* "$folder/root/dev/" 2>/dev/null || true
ln -s /proc/self/fd "$folder/root/dev/fd"
mkdir "$folder/root/dev/shm" "$folder/root/dev/pts"
mount -t tmpfs tmpfs "$folder/root/dev/shm"
mount -t devpts devpts "$folder/root/dev/pts" -o newinstance,ptmxmode=0666
ln -s pts/ptmx "$folder/root/dev/ptmx"
mount -t sysfs -o ro sysfs "$folder/root/sys"
mount -t tmpfs tmpfs "$folder/root/run"
mount -t tmpfs tmpfs "$folder/root/tmp"
mkdir -p "$folder/root$project" # last: it may lie under /tmp itself
mount --bind "$project" "$folder/root$project"
exec chroot "$folder/root" "$@"
