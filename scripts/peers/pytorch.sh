# Sets python to Debian's Python with PyTorch, installing what is missing; log says where apt-get's words go. Without OpenBLAS
# Debian's PyTorch takes the reference BLAS, whose products are some forty times slower than what it is to be compared with.
python=/usr/bin/python3
if ! "$python" -c 'import torch' 2>/dev/null || ! ls /usr/lib/*/openblas-pthread/libblas.so.3 >/dev/null 2>&1; then
  (apt-get update && apt-get install -y --no-install-recommends python3-torch python3-numpy libopenblas0-pthread) >"${log:-/dev/null}" 2>&1
fi
