# NVIDIA's compiler for the CUDA engine, where there is a driver and no nvcc. Sourced, in the root of
# the sources, after tools/packages.sh.
#   cuda_offer WISH   WISH: pypi, debian, yes (if it is here), no; empty: asked on a terminal, otherwise only said
cuda_home=build/cuda/nvidia/cu13 # where the wheels put it; src/engine/cuda/kernels/meson.build looks here
cuda_wheels='nvidia-cuda-nvcc nvidia-cuda-crt nvidia-cuda-runtime nvidia-nvvm'

# cuda_driver: is NVIDIA's driver here? Says its version when that is known.
cuda_driver() {
    version=$( (cat /sys/module/nvidia/version || nvidia-smi --query-gpu=driver_version --format=csv,noheader) \
        2>/dev/null | grep -m 1 '^[0-9][0-9.]*$') || version=
    [ -n "$version" ] || nvidia-smi -L >/dev/null 2>&1 || [ -e /usr/lib/wsl/lib/libcuda.so.1 ] ||
        ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1' || /sbin/ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1' ||
        return 1
    echo "$version"
}
# as in src/engine/cuda/kernels/meson.build
cuda_nvcc() {
    for f in "${CUDACXX-}" "${CUDA_HOME:-/none}/bin/nvcc" nvcc /usr/local/cuda/bin/nvcc /usr/local/cuda-*/bin/nvcc \
        $cuda_home/bin/nvcc; do
        [ -z "$f" ] || ! command -v "$f" >/dev/null || return 0
    done
    return 1
}
# cuda_debian: the version of Debian's toolkit that apt would install, when it is new enough
cuda_debian() {
    command -v apt-cache >/dev/null || return 1
    candidate=$(apt-cache policy nvidia-cuda-toolkit 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9][0-9.]*\).*/\1/p')
    [ "${candidate%%.*}" -ge 12 ] 2>/dev/null && echo "$candidate"
}
cuda_fetch_pypi() {
    packages_need g++ python3-venv
    echo "Fetching NVIDIA's compiler from PyPI into build/cuda (120 MB; on disk 320 MB; NVIDIA's licence): $cuda_wheels"
    rm -rf build/cuda
    mkdir -p build/cuda
    log=$(mktemp)
    # shellcheck disable=SC2086
    if { python3 -m venv build/cuda/python &&
        build/cuda/python/bin/python -m pip install -q --no-deps --target build/cuda $cuda_wheels; } >"$log" 2>&1 &&
        [ -x $cuda_home/bin/nvcc ]; then
        rm -rf "$log" build/cuda/python
    else
        tail -5 "$log" >&2
        rm -rf "$log" build/cuda
        echo "That did not work; the program is built without its CUDA engine." >&2
    fi
}
cuda_offer() {
    driver=$(cuda_driver) || return 0
    if cuda_nvcc; then return 0; fi
    debian=$(cuda_debian) || debian=
    wish=$1
    # CUDA 13's code wants a driver of its own time
    old=
    [ "${driver%%.*}" -ge 580 ] 2>/dev/null || [ -z "$driver" ] || old=1
    echo "NVIDIA's driver${driver:+ $driver} is here, its compiler (nvcc) is not; only with it the CUDA engine is built."
    echo "  pypi    nvcc 13 from PyPI into build/cuda, without root: for GTX 16, RTX 20 and newer, driver 580 or newer"
    if [ -n "$debian" ]; then echo "  debian  Debian's nvidia-cuda-toolkit $debian (non-free, gigabytes), also for older cards and drivers"
    else echo "  (Debian 13 has nvcc 12.4 in non-free, nvidia-cuda-toolkit, for older cards and drivers; Debian 12's is too old)"; fi
    if [ -z "$wish" ] && [ -t 0 ] && [ -t 1 ]; then
        printf 'pypi%s or no? ' "${debian:+, debian}"
        read -r wish || wish=no
    fi
    case $wish in
    pypi)
        [ -z "$old" ] || echo "Driver $driver is older than 580: it may refuse what nvcc 13 makes; the CPU is used then."
        cuda_fetch_pypi ;;
    debian)
        if [ -n "$debian" ]; then packages_need nvidia-cuda-toolkit
        else echo "apt has no nvidia-cuda-toolkit of CUDA 12 or newer here; without it." >&2; fi ;;
    '') echo "Built without it. To have it: ./quickstart.sh --cuda pypi (or UPREZ_CUDA=pypi)" ;;
    *) echo "Built without it." ;;
    esac
}
