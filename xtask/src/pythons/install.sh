# Installs packages of a release of Debian, with what they need, and starts no services: sh -eu install.sh RELEASE PACKAGE...
release=$1
shift
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head --lines 1)
echo "deb $mirror $release main" > /etc/apt/sources.list.d/newer-pythons.list
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
# Debian supports no upgrade over two releases at once: a file has moved to another package.
apt-get install --quiet --yes --no-install-recommends --target-release "$release" \
  --option Dpkg::Options::=--force-overwrite "$@"
