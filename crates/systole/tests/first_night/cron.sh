#!/bin/sh
# Debian's cron with one crontab and nothing else: USER CRONTAB. To be run as root in mount and process namespaces of its own, so that the
# machine's own cron, crontabs and files stay as they are, and so that every job ends with this script. It ends when its input does.
set -eu
PATH=/usr/sbin:/sbin:/usr/bin:/bin
user=$1 crontab=$2
for needed in cron crontab; do
  command -v "$needed" > /dev/null || { echo "$needed is needed: apt-get install cron" >&2; exit 1; }
done
mount -t tmpfs -o mode=755 spool /var/spool/cron
mkdir /var/spool/cron/crontabs
chown root:crontab /var/spool/cron/crontabs
chmod 1730 /var/spool/cron/crontabs
mount -t tmpfs -o mode=755 none /etc/cron.d
mount -t tmpfs -o mode=755 run /run
: > /run/crontab
mount --bind /run/crontab /etc/crontab
# What the machine's own PAM adds needs more than a container may have.
for kind in auth account session; do echo "$kind required pam_permit.so"; done > /run/pam
mount --bind /run/pam /etc/pam.d/cron
crontab -u "$user" "$crontab"
cron -f < /dev/null &
echo ready
cat > /dev/null
