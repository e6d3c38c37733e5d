#!/usr/bin/env bash
# Builds the archives of a release and their checksums: scripts/release.sh [VERSION] [FOLDER]
# The same commit and Go version give the same archives, byte for byte.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-$(git describe --tags --always --dirty)}
out=${2:-dist}
mkdir -p "$out"
out=$(cd "$out" && pwd)
stamp=@$(git log -1 --format=%ct)
for platform in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do
  os=${platform%/*} arch=${platform#*/}
  name=pacl-$version-$os-$arch
  folder=$(mktemp -d)
  mkdir "$folder/$name"
  binary=pacl
  [ "$os" = windows ] && binary=pacl.exe
  CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=true -ldflags='-s -w' -o "$folder/$name/$binary" ./cmd/pacl
  cp LICENSE README*.md "$folder/$name/"
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="$stamp" -C "$folder" -cf - "$name" | gzip -n9 >"$out/$name.tar.gz"
  rm -rf "$folder"
  echo "$out/$name.tar.gz"
done
(cd "$out" && sha256sum "pacl-$version-"*.tar.gz >SHA256SUMS)
echo "$out/SHA256SUMS"
