#!/bin/bash
# Engine libtorch from the command: TorchScript in and out, modules that do not fit, and what the
# program itself is linked to. One round for each module in build/modules/libtorch*.
. "$(dirname "$0")/lib.sh"
data=$SOURCE_ROOT/tests/data/torchscript
export XDG_DATA_HOME=$tmp/data
unset UPREZ_RUNTIME_PATH

# never linked, whatever is installed
if command -v readelf >/dev/null; then
    readelf -d "$UPREZ" | grep -E 'NEEDED.*(torch|c10|stdc\+\+)' && bad "the program is linked to C++"
fi

# without a module
expect 5 "$UPREZ" model info "$data/double.pt"; said "tools/build-libtorch.sh"; one_error

modules=$(ls -d "${BUILD_ROOT:-build}"/modules/libtorch* 2>/dev/null)
[ -n "$modules" ] || skip "no module for LibTorch in build/modules; tools/build-libtorch.sh makes one"
ffmpeg -v error -f lavfi -i testsrc2=s=60x44 -frames:v 1 "$tmp/in.png" || skip "no ffmpeg"

for module in $modules; do
    export UPREZ_RUNTIME_PATH=$module
    version=$(sed -n 's/^libtorch //p' "$module/engine-libtorch.txt")
    echo "LibTorch $version: $module"
    expect 0 "$UPREZ" model info "$data/double.pt"
    grep -q 'scale *2' "$tmp/out" || bad "info does not tell the scale"
    grep -q 'parameters *336; work unknown' "$tmp/out" || bad "info: $(grep parameters "$tmp/out")"
    expect 0 "$UPREZ" model info --json "$data/bare.pt"
    for key in parameters half macs_per_pixel; do
        grep -q "\"$key\":[[:space:]]*null" "$tmp/out" || bad "info --json: $key of a module without parameters"
    done
    expect 4 "$UPREZ" model info "$data/bad-two-inputs.pt"; said "takes (x: Tensor"; one_error
    expect 4 "$UPREZ" model info "$data/bad-none.pt"; said "nothing (None) where a tensor is needed"; one_error
    head -c 3000 "$data/double.pt" >"$tmp/cut.pt"
    expect 4 "$UPREZ" model info "$tmp/cut.pt"; one_error
    { cat "$data/double.pt" | head -c 1000; head -c 1000 /dev/zero; tail -c +2001 "$data/double.pt"; } >"$tmp/hole.pt"
    "$UPREZ" model info "$tmp/hole.pt" >/dev/null 2>"$tmp/err"
    code=$?
    case $code in 0 | 4 | 5) ;; *) bad "exit $code for a damaged file" ;; esac

    # TensorRT engines of torch_tensorrt: its runtime is missing, is none, or finds no GPU; a damaged file
    expect 5 "$UPREZ" model info "$data/bad-trt.pt"
    said "libtorchtrt_runtime.so"; said "pip install torch_tensorrt"; one_error
    head -c 900 "$data/bad-trt.pt" >"$tmp/cut-trt.pt"
    expect 4 "$UPREZ" model info "$tmp/cut-trt.pt"; one_error
    rm -rf "$tmp/trt"; mkdir "$tmp/trt"
    echo "no library" >"$tmp/trt/libtorchtrt_runtime.so"
    UPREZ_RUNTIME_PATH=$module:$tmp/trt expect 5 "$UPREZ" model info "$data/bad-trt.pt"
    said "torch_tensorrt cannot be loaded"; one_error
    echo 'int nothing;' | cc -shared -fPIC -x c - -o "$tmp/trt/libtorchtrt_runtime.so"
    UPREZ_RUNTIME_PATH=$module:$tmp/trt expect 5 "$UPREZ" model info "$data/bad-trt.pt"
    said "NVIDIA GPUs only"; one_error

    # a picture, by a script and by a network of ours
    expect 0 "$UPREZ" "$tmp/in.png" "$tmp/script.png" -m "$data/double.pt" -y
    [ "$(probe "$tmp/script.png" width,height)" = 120,88 ] || bad "wrong size from a script"
    expect 5 "$UPREZ" "$tmp/in.png" "$tmp/no.png" -m "$data/double.pt" -d abacus; one_error
    # a device that is not there is an error, never the processor
    for d in cuda:77 xpu:77; do
        expect 5 "$UPREZ" "$tmp/in.png" "$tmp/no.png" -m "$data/double.pt" -d $d; said "${d%:*}"; one_error
    done
    expect 5 "$UPREZ" "$tmp/in.png" "$tmp/no.png" -m "$data/double.pt" --engine cpu
    [ -e "$tmp/no.png" ] && bad "an output without a device"

    # a real checkpoint: by our kernels, by LibTorch, and written as TorchScript
    real=$SHARED/models/pytorch/sudo_UltraCompact_2x_1.121.175_G.pth
    if [ -f "$real" ]; then
        expect 0 "$UPREZ" model convert "$real" "$tmp/made.pt" -y
        expect 0 "$UPREZ" "$tmp/in.png" "$tmp/cpu.png" -m "$real" --engine cpu --precision fp32 -y
        expect 0 "$UPREZ" "$tmp/in.png" "$tmp/torch.png" -m "$real" --engine libtorch --precision fp32 -y
        expect 0 "$UPREZ" "$tmp/in.png" "$tmp/made.png" -m "$tmp/made.pt" --precision fp32 -y
        expect 0 "$UPREZ" "$tmp/in.png" "$tmp/auto.png" -m "$real" --engine libtorch -y # as narrow as 50 dB allow
        for f in torch made auto; do
            least=70
            [ $f = auto ] && least=45 # another picture than the one that decides
            psnr=$(ffmpeg -i "$tmp/cpu.png" -i "$tmp/$f.png" -lavfi psnr -f null - 2>&1 |
                sed -n 's/.*average:\([a-z0-9]*\).*/\1/p')
            case $psnr in inf) ;; *) [ "${psnr:-0}" -ge $least ] || bad "$f.png: $psnr dB from the cpu engine" ;; esac
        done
        # PyTorch itself reads what was written
        if python3 -c 'import torch' 2>/dev/null; then
            python3 - "$tmp/made.pt" <<'P' || bad "PyTorch cannot run the file written"
import sys, torch
m = torch.jit.load(sys.argv[1])
y = m(torch.rand(1, 3, 17, 22))
assert y.shape == (1, 3, 34, 44) and torch.isfinite(y).all()
P
        fi
    else
        echo "skipped: no real models at \$SHARED"
    fi

    # an unpacked archive (lib, include, build-version): given to the build, and at run time. The
    # compiler is none, but looks at what it is told; what it makes is the module that is there.
    folder=$(sed -n 's/^folder //p' "$module/engine-libtorch.txt")
    archive=$tmp/libtorch
    rm -rf "$archive" "$tmp/made"; mkdir -p "$archive/lib" "$tmp/made"
    ln -s "$folder"/libtorch*.so* "$folder"/libc10*.so* "$archive/lib"
    [ -d "$folder/../include/ATen" ] && headers=$folder/../include || headers=/usr/include
    ln -s "$headers" "$archive/include"
    echo "$version+cpu" >"$archive/build-version"
    cat >"$tmp/cxx" <<C
#!/bin/bash
echo "\$*" >>"$tmp/cxx.log"
while [ \$# -gt 1 ]; do [ "\$1" = -o ] && cp "$module/engine-libtorch.so" "\$2"; shift; done
C
    chmod +x "$tmp/cxx"; : >"$tmp/cxx.log"
    CXX=$tmp/cxx expect 0 "$SOURCE_ROOT/tools/build-libtorch.sh" "$archive" --dest "$tmp/made" --no-cuda
    grep -qe "-isystem $archive/include .* -L$archive/lib " "$tmp/cxx.log" ||
        bad "the compiler was told $(cat "$tmp/cxx.log")"
    grep -qx "folder $archive/lib" "$tmp/made/engine-libtorch.txt" || bad "the note names another folder"
    UPREZ_RUNTIME_PATH=$tmp/made expect 0 "$UPREZ" devices --runtime-path "$archive"
    grep -q "$archive/lib/libtorch_cpu.so" "$tmp/out" || bad "another LibTorch was taken: $(cat "$tmp/out")"
    UPREZ_RUNTIME_PATH=$tmp/made expect 0 "$UPREZ" "$tmp/in.png" "$tmp/archive.png" -y \
        -m "$data/double.pt" --engine libtorch --runtime-path "$archive"
    cmp "$tmp/archive.png" "$tmp/script.png" || bad "the archive's LibTorch gives other pixels"
    echo 0.9.1 >"$archive/build-version"
    UPREZ_RUNTIME_PATH=$tmp/made expect 5 "$UPREZ" "$tmp/in.png" "$tmp/no.png" -m "$data/double.pt" \
        --runtime-path "$archive"
    said "of LibTorch 0.9.1"; one_error
    expect 1 "$SOURCE_ROOT/tools/build-libtorch.sh" "$tmp/made" --dest "$tmp/made"; said "holds no LibTorch"

    # modules that do not fit say so in a sentence
    rm -rf "$tmp/odd"; mkdir "$tmp/odd"
    cp "$module"/engine-libtorch.* "$tmp/odd"
    sed -i 's/^libtorch .*/libtorch 0.9.1/' "$tmp/odd/engine-libtorch.txt"
    UPREZ_RUNTIME_PATH=$tmp/odd expect 5 "$UPREZ" model info "$data/double.pt"
    said "built for LibTorch 0.9.1"; one_error
    sed -i "s/^libtorch .*/libtorch $version/" "$tmp/odd/engine-libtorch.txt"
    head -c 5000 "$module/engine-libtorch.so" >"$tmp/odd/engine-libtorch.so"
    UPREZ_RUNTIME_PATH=$tmp/odd expect 5 "$UPREZ" model info "$data/double.pt"
    said "is damaged"; one_error
    sed -i /^bytes/d "$tmp/odd/engine-libtorch.txt"
    echo "no library" >"$tmp/odd/engine-libtorch.so"
    UPREZ_RUNTIME_PATH=$tmp/odd expect 5 "$UPREZ" model info "$data/double.pt"
    said "does not fit"; one_error
    # found where build-libtorch.sh installs it
    mkdir -p "$tmp/data/uprez/modules"
    cp "$module"/engine-libtorch* "$tmp/data/uprez/modules"
    unset UPREZ_RUNTIME_PATH
    expect 0 "$UPREZ" model info "$data/double.pt"
    rm -rf "$tmp/data/uprez"
done
finish
