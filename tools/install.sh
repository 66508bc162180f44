#!/bin/sh
# Installs nontax with a Python of its own into one folder. It needs neither root nor a network, and
# changes nothing outside of that folder. 安装到一个文件夹：不需要 root，不需要网络，不改动其他任何地方。
# usage: sh install.sh [FOLDER]     (~/nontax if none is named)
# Run it again with a newer bundle to upgrade; to uninstall, delete the folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$HOME/nontax}
version=$(cat "$here/version.txt")

machine=$(uname -m)
case $here in
*-linux-"$machine") ;;
*)
    [ -n "${NONTAX_ANY_MACHINE:-}" ] || {
        echo "This bundle is not for this machine ($machine). 本安装包不适用于本机（$machine）。" >&2
        exit 1
    }
    ;;
esac
if [ -e "$folder" ] && [ ! -e "$folder/.nontax" ]; then
    echo "$folder is there already, and is none of nontax's. Name another folder." >&2
    echo "$folder 已存在，而且不是 nontax 的文件夹。请指定别的文件夹。" >&2
    exit 1
fi
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
touch "$folder/.nontax"

# The new one is made beside the old one, which runs until the last step.
new=$folder/$version-$$
trap 'rm -rf "$new"' EXIT
mkdir "$new"
cp -R "$here/python" "$here/licenses" "$new/"
"$new/python/bin/python3" -m venv --without-pip "$new/venv"
pip=$(echo "$here"/wheels/pip-*.whl)
"$new/venv/bin/python3" "$pip/pip" install --quiet --disable-pip-version-check --no-index --no-warn-script-location \
    --find-links "$here/wheels" "nontax[django,events,excel,notebook]==$version"
"$new/venv/bin/nontax" --version >/dev/null

old=$(readlink "$folder/current" || true)
ln -s "${new##*/}" "$folder/next-$$"
mv -T "$folder/next-$$" "$folder/current"
trap - EXIT
mkdir -p "$folder/bin"
# No links: Python looks for its packages where the name stands by which it was called.
for program in nontax python3; do
    printf '#!/bin/sh\nexec "%s/current/venv/bin/%s" "$@"\n' "$folder" "$program" >"$folder/bin/$program"
    chmod +x "$folder/bin/$program"
done
[ -z "$old" ] || rm -rf "${folder:?}/$old"

echo "nontax $version is in $folder. Try:     已安装。试一试："
echo "    $folder/bin/nontax doctor --offline"
echo "    $folder/bin/nontax sandbox"
