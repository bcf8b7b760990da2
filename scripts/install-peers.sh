#!/bin/sh
# Installs every Debian package that the tests need as real peers. The one list: README, `npm test` and CI use it.
# Does nothing where all of them are there. Needs root on Debian or a relative of it.
set -eu

PACKAGES="openssl gnupg gpgsm gpg-agent sq sqop postfix swaks libnet-ssleay-perl libio-socket-ssl-perl strace slapd ldap-utils python3-dkim"

missing=""
for package in $PACKAGES; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "The interoperability tests need these packages:$missing" >&2
  echo "Install them as root on Debian: apt-get install$missing" >&2
  exit 3
fi
echo "Installing test peers:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The tests start Postfix with configurations of their own; the system's stays unconfigured.
echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
# The same for slapd.
echo 'slapd slapd/no_configuration boolean true' | debconf-set-selections
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
