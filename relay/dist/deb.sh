#!/bin/sh
# The Debian package, from what `make install` put into build/deb/root; `make deb`
# calls it. Prints the path of the package.
set -eu
cd "$(dirname "$0")/../.."
out=build/deb root=$(pwd)/build/deb/root
version=$(sed -n 's/^#define STAGEPOST_VERSION "\(.*\)"/\1/p' relay/sys/base/version.h)
architecture=$(dpkg --print-architecture)
doc=$root/usr/share/doc/stagepost
# The same package from the same sources.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/bin/stagepost"
gzip -9n "$root"/usr/share/man/man*/*
rm -f "$doc/LICENSE" # Debian has its text
cp relay/dist/debian/copyright "$doc/copyright"
sed -e "s/@VERSION@/$version/" -e "s/@DATE@/$(date -Ru -d "@$SOURCE_DATE_EPOCH")/" \
    relay/dist/debian/changelog | gzip -9n >"$doc/changelog.gz"
chmod 644 "$doc"/copyright "$doc"/changelog.gz
install -d -m 700 "$root/etc/stagepost/dkim" "$root/etc/stagepost/tls"

# dpkg-shlibdeps wants a source package's control file to stand by.
mkdir -p "$out/shlibs/debian" "$root/DEBIAN"
printf 'Source: stagepost\n\nPackage: stagepost\nArchitecture: any\n' >"$out/shlibs/debian/control"
depends=$(cd "$out/shlibs" && dpkg-shlibdeps -O "$root/usr/bin/stagepost" 2>/dev/null |
    sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || { echo "deb.sh: dpkg-shlibdeps found nothing" >&2; exit 1; }
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@DEPENDS@/$depends/" \
    -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$root" | cut -f1)/" \
    relay/dist/debian/control >"$root/DEBIAN/control"
for script in postinst prerm postrm; do
    install -m 755 "relay/dist/debian/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
package=$out/stagepost_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
rm -rf "$out/shlibs"
echo "$package"
