#!/bin/bash
# What go.sh leaves open, within 420 s: large pictures, what each kernel does, FFmpeg beside the network alone,
# PyTorch beside it, other networks and formats. A step that fails or hangs is told and the next one begins.
#
# usage: tests/gpu/measure.sh [--pack FOLDER | --build FOLDER] [--models FOLDER] [--out FOLDER] [--seconds N]
#   as tests/gpu/go.sh; FFmpeg, the clip and other cuts of the kernels are the pack's
# Writes FOLDER/measure.json (a JSON object a line, each at once), FOLDER/NAME.txt of each step, FOLDER/smi.csv and
# FOLDER/log. Exit 0: nothing failed.
. "$(dirname "$0")/steps.sh"
begin 420 "$@"
big=1280x720 large=1920x1080 n=100 few=12 nets="general anime x4plus anime6b plain light wide" tiled=1280x720
side=158x94 odd="16x16 129x65 253x31" cut=133x21
formats="yuv420p yuv420p10le p010le yuv422p yuv444p yuv444p10le yuv411p gray gray10le rgb24 bgra gbrp gbrp10le gbrpf32le"
[ -z "$rehearse" ] || {
    big=48x32 large=40x24 n=2 few=2 nets="tiny2 tiny1 light" tiled=160x64 side=38x22 odd=16x16 cut=33x17
    formats="yuv420p gbrpf32le"
}
pick() { # the nth network, or the first
    # shellcheck disable=SC2086
    set -- "$1" $nets
    local i=$(($1 + 1))
    net "${!i:-$2}"
}
main=$(pick 1) anime=$(pick 2) deep=$(pick 3) six=$(pick 4) plain=$(pick 5) wide=$(pick 7)
[ -z "$rehearse" ] || six=$deep plain=$main wide=$main
gpu='env LD_LIBRARY_PATH="$libs" "$bin/gpu"' network='ours "$bin/network"'
rate="$gpu device '$main' nv12 $big cuda $n"
profile='need ncu; ncu --clock-control none --cache-control none --kill yes --target-processes all --csv'
sections="--section SpeedOfLight --section MemoryWorkloadAnalysis --section WarpStateStats --section ComputeWorkloadAnalysis"
metrics=gpu__time_duration.sum,dram__bytes.sum,sm__inst_executed_pipe_tensor.sum,lts__t_sector_hit_rate.pct

# ffmpeg_run FRAMES OPTIONS: frames a second, without the start
ffmpeg_run() {
    local frame=0 begin='' first=0 key value at=0 clip=$pack/share/clip.mkv
    [ -n "$pack" ] && [ -x "$pack/bin/ffmpeg" ] || { echo "no FFmpeg in the pack"; return 77; }
    local from=(-hwaccel cuda -hwaccel_output_format cuda -stream_loop -1 -i "$clip") up=
    [ -z "$rehearse" ] || { from=(-init_hw_device cuda=g -filter_hw_device g -f lavfi -i testsrc2=s=48x32:r=30) up=format=nv12,hwupload,; }
    while IFS='=' read -r key value; do
        case $key in
        frame) frame=$value ;;
        progress)
            at=$EPOCHREALTIME
            [ -n "$begin" ] || { [ "$frame" -gt 0 ] && begin=$at first=$frame; } ;;
        esac
    done < <(ours "$pack/bin/ffmpeg" -nostdin -v error -stats_period 0.2 -progress pipe:1 "${from[@]}" -frames:v "$1" \
        -vf "${up}uprez=model='$3':$2" -f null - </dev/null)
    [ "$frame" -gt 0 ] || return 1
    awk -v f="$frame" -v g="$first" -v a="${begin:-0}" -v b="$at" -v o="$2" \
        -v net="$(sed -n 's/^{"network".*"fps": \([0-9.]*\).*/\1/p' "$out/network_alone.txt" 2>/dev/null)" 'BEGIN {
        fps = f > g && b > a ? (f - g) / (b - a) : 0
        printf "{\"ffmpeg\": \"%s\", \"frames\": %d, \"fps\": %.2f, \"of_network_alone\": %.4f}\n", o, f, fps, (net > 0 ? fps / net : 0) }'
}
# the same frames by the GPU and by the CPU
ffmpeg_psnr() {
    local ff=$pack/bin/ffmpeg clip=$pack/share/clip.mkv a=$tmp/a.yuv b=$tmp/b.yuv gpu="uprez=model='$1',hwdownload,format=nv12"
    [ -n "$pack" ] && [ -x "$ff" ] || { echo "no FFmpeg in the pack"; return 77; }
    if [ -n "$rehearse" ]; then
        local from=(-f lavfi -i testsrc2=s=48x32:r=30)
        (ours "$ff" -nostdin -v error -y -init_hw_device cuda=g -filter_hw_device g "${from[@]}" -frames:v 2 -vf "format=nv12,hwupload,$gpu" -f rawvideo "$a") &&
            (ours "$ff" -nostdin -v error -y "${from[@]}" -frames:v 2 -vf "format=nv12,uprez=model='$1':engine=cpu" -f rawvideo "$b") || return 1
    else
        (ours "$ff" -nostdin -v error -y -hwaccel cuda -hwaccel_output_format cuda -i "$clip" -frames:v 2 -vf "$gpu" -f rawvideo "$a") &&
            (ours "$ff" -nostdin -v error -y -i "$clip" -frames:v 2 -vf "format=nv12,uprez=model='$1':engine=cpu" -f rawvideo "$b") || return 1
    fi
    python3 "$root/tests/gpu/torch_rate.py" psnr "$a" "$b" nv12
}
# decoded, enlarged and encoded on the card
ffmpeg_nvenc() {
    local ff=$pack/bin/ffmpeg
    [ -n "$pack" ] && [ -x "$ff" ] || { echo "no FFmpeg in the pack"; return 77; }
    (ours "$ff" -nostdin -v error -encoders 2>/dev/null) | grep -q h264_nvenc || { echo "no NVENC in this FFmpeg"; return 77; }
    (ours "$ff" -nostdin -v error -y -f lavfi -i testsrc2=s=320x180:r=30:d=1 -c:v h264_nvenc "$tmp/d.mkv" >/dev/null 2>&1) ||
        { echo "no NVENC in this card"; return 77; }
    (ours "$ff" -nostdin -v error -y -hwaccel cuda -hwaccel_output_format cuda -i "$tmp/d.mkv" -vf "uprez=model='$1'" \
        -c:v h264_nvenc "$tmp/e.mkv")
}
# other runtimes on the card: LibTorch needs its module, a minute of compiling
libtorch() {
    has_torch
    "$root/tools/build-libtorch.sh" || return 1
    ours "$bin/gpu" check "$1" rgb24 "$2" libtorch
}
onnxruntime() {
    python3 -c 'import onnxruntime as o; assert "CUDAExecutionProvider" in o.get_available_providers()' 2>/dev/null ||
        { echo "no ONNX Runtime with CUDA here"; return 77; }
    ours "$bin/gpu" rate "$1" rgb24 "$2" onnxruntime 20 fp16
}
# variant NAME: other cuts of the kernels, from the pack
variant() {
    local cubin=${pack:+$pack/share/kernels-$1.cubin}
    [ -n "$cubin" ] && [ -f "$cubin" ] || { echo "no such kernels in the pack"; return 77; }
    UPREZ_CUDA_KERNELS=$cubin ours "${@:2}"
}
export -f ffmpeg_run ffmpeg_psnr ffmpeg_nvenc libtorch onnxruntime variant

step networks 30 "make_nets $nets"
# 1: right at the size that is measured, whole and in tiles
step check_big 20 "checks '$main nv12 $big'"
step tiles 20 "$network tiles '$deep' nv12 $tiled"
# 2, 3: the kernels of one picture behind the self-test's two of 36 launches; then some of them closely
step ncu_frame 20 "$profile --launch-skip 72 --launch-count 36 --metrics $metrics $gpu device '$main' nv12 $big cuda 4"
for kernel in conv_ring:70 conv_stream:2 store_picture:2; do
    step "ncu_${kernel%:*}" 14 "$profile -k regex:^${kernel%:*}\$ --launch-skip ${kernel#*:} --launch-count 2 $sections $gpu device '$main' nv12 $big cuda 4"
done
# 4: the network alone, and with what is around it
step network_alone 10 "$network rate '$main' $big 20"
step pipeline_8 6 "$rate"
step pipeline_10 6 "$gpu device '$main' p010le $big cuda $n"
step pipeline_host 8 "$gpu rate '$main' nv12 $big cuda $((n / 2))"
# 5: the decoder in front
step ffmpeg 12 "ffmpeg_run $((n * 12)) reuse=0 '$main'"
step ffmpeg_reuse 12 "ffmpeg_run $((n * 12)) reuse=1 '$main'"
step ffmpeg_psnr 15 "ffmpeg_psnr '$main'"
# 6
step torch_eager 30 'has_torch; python3 "$root/tests/gpu/torch_rate.py" eager'
# 7
for name in regs0 30_33 33_35; do step "variant_$name" 8 "variant $name \"\$bin/gpu\" device '$main' nv12 $big cuda $n"; done
# 8: other networks, 8 bits
step rate_anime 10 "$gpu device '$anime' nv12 $large cuda $n"
step rate_x4plus 18 "$gpu device '$deep' nv12 $big cuda $few"
step rate_anime6b 12 "$gpu device '$six' nv12 $big cuda $((2 * few))"
for p in fp8 int8; do
    step "rate_$p" 10 "$gpu device '$main' nv12 $big cuda $n $p"
    step "rate_x4plus_$p" 14 "$gpu device '$deep' nv12 $big cuda $few $p"
done
step reuse 10 "$gpu reuse '$main' nv12 $big cuda $n"
# 9: formats and sizes
list=
for f in $formats; do list="$list '$anime $f $side'"; done
for s in $odd; do list="$list '$wide nv12 $s' '$six nv12 $s'"; done
for p in fp8 int8; do list="$list '$wide nv12 $side cuda 0 $p' '$six nv12 $side cuda 0 $p'"; done
step formats 40 "checks $list"
# 10: what is left of the time
step torch_compile 70 'has_torch; python3 "$root/tests/gpu/torch_rate.py" compile'
for tool in memcheck synccheck racecheck; do
    step "$tool" 30 "need compute-sanitizer; compute-sanitizer --tool $tool --target-processes all --error-exitcode 9 $gpu check '$plain' nv12 $cut"
done
step ffmpeg_nvenc 10 "ffmpeg_nvenc '$main'"
step onnxruntime 20 "onnxruntime '$main' $big"
step libtorch 100 "libtorch '$anime' $side"
step libtorch_rate 20 "has_torch; ours \"\$bin/gpu\" rate '$main' rgb24 $big libtorch 20 fp16"
end_all
