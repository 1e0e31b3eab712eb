# Runs a command in an overlay of this machine's root, whose mounts end with it: unshare --mount sh -eu in_overlay.sh FOLDER COMMAND
overlay=$1
shift
mount -t overlay overlay -o "lowerdir=/,upperdir=$overlay/upper,workdir=$overlay/work" "$overlay/root"
# In a container, these two are mounts.
for file in /etc/hosts /etc/resolv.conf; do
  cp --dereference --remove-destination "$file" "$overlay/root$file"
done
for folder in /proc /dev /tmp "$HOME" "$PWD"; do
  mount --rbind "$folder" "$overlay/root$folder"
done
exec chroot "$overlay/root" env --chdir="$PWD" "$@"
