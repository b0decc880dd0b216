/* Pictures that stay on the GPU: NV12 frames from stdin to stdout, as stream.c, but the library reads and
 * writes device memory, in the caller's context and in the order of the caller's stream. In a player the
 * memory would come from the decoder and go to the display; here it is copied up and down.
 *   ffmpeg -i in.mp4 -f rawvideo -pix_fmt nv12 - | cuda MODEL 640 360 > out.nv12
 * Built with the CUDA toolkit's headers: cc cuda.c $(pkg-config --cflags --libs uprez) -lcuda */
#include <cuda.h>
#include <stdio.h>
#include <stdlib.h>
#include <uprez/uprez.h>

static int fail(const UprezError *err)
{
    fprintf(stderr, "%s\n", err->text);
    return -err->code;
}

static void done(void *cookie) /* the last reference is gone, in the order of the stream */
{
    cuMemFreeAsync((CUdeviceptr)(size_t)cookie, NULL);
}

/* Device memory of one NV12 picture of w x h. */
static int picture(UprezPicture **out, int w, int h, UprezError *err)
{
    CUdeviceptr at;
    size_t pitch = ((size_t)w + 255) / 256 * 256, rows = (size_t)h + ((size_t)h + 1) / 2;
    UprezPicture desc = {.width = w, .height = h, .memory = UPREZ_MEM_CUDA, .device = 0};
    uprez_format_from_name(&desc.format, "nv12");
    if (cuMemAllocAsync(&at, pitch * rows, NULL)) return -1;
    desc.plane[0] = (void *)(size_t)at;
    desc.plane[1] = (void *)(size_t)(at + pitch * (size_t)h);
    desc.stride[0] = desc.stride[1] = (ptrdiff_t)pitch;
    desc.stream = NULL; /* the context's default stream, in which this program copies */
    return uprez_picture_wrap(out, &desc, done, (void *)(size_t)at, err);
}

static void copy(const UprezPicture *p, unsigned char *host, int up)
{
    for (int i = 0; i < 2; i++) {
        size_t bytes = i ? ((size_t)p->width + 1) / 2 * 2 : (size_t)p->width;
        size_t rows = i ? ((size_t)p->height + 1) / 2 : (size_t)p->height;
        CUDA_MEMCPY2D c = {.srcMemoryType = up ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE,
                           .dstMemoryType = up ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST,
                           .WidthInBytes = bytes, .Height = rows};
        c.srcHost = c.dstHost = host;
        c.srcDevice = c.dstDevice = (CUdeviceptr)(size_t)p->plane[i];
        c.srcPitch = up ? bytes : (size_t)p->stride[i];
        c.dstPitch = up ? (size_t)p->stride[i] : bytes;
        cuMemcpy2D(&c); /* waits for the stream: the result is complete */
        host += bytes * rows;
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    int w = atoi(argv[2]), h = atoi(argv[3]), r = 0;
    CUdevice device;
    CUcontext context;
    if (cuInit(0) || cuDeviceGet(&device, 0) || cuDevicePrimaryCtxRetain(&context, device) ||
        cuCtxPushCurrent(context)) {
        fprintf(stderr, "no GPU to be used\n");
        return 5;
    }
    UprezError err = {0};
    UprezContext *ctx;
    UprezModel *model;
    Uprez *up;
    UprezInfo info = {.size = sizeof(info)};
    UprezPicture *src, *result;
    if (uprez_context_create(&ctx, NULL, &err) < 0) return fail(&err);
    if (uprez_model_load(&model, ctx, argv[1], NULL, &err) < 0) return fail(&err);
    UprezParams params = {.size = sizeof(params), .models = &model, .n_models = 1, .engine = "cuda",
                          .cuda_context = context};
    if (uprez_create(&up, ctx, &params, &err) < 0) return fail(&err);
    if (picture(&src, w, h, &err) < 0 || uprez_plan(up, src, &info, &err) < 0) return fail(&err);
    uprez_picture_unref(&src);

    size_t in = ((size_t)w + 1) / 2 * 2 * (((size_t)h + 1) / 2) + (size_t)w * (size_t)h;
    size_t out = ((size_t)info.width + 1) / 2 * 2 * (((size_t)info.height + 1) / 2) +
                 (size_t)info.width * (size_t)info.height;
    unsigned char *host = malloc(in > out ? in : out);
    while (host && fread(host, 1, in, stdin) == in) {
        if (picture(&src, w, h, &err) < 0) return fail(&err);
        copy(src, host, 1);
        r = uprez_send(up, src, &err);
        uprez_picture_unref(&src); /* the library holds its own reference */
        /* one at a time, to keep this short: stream.c shows several in flight */
        if (r < 0 || uprez_receive(up, &result, -1, &err) < 0) return fail(&err);
        copy(result, host, 0);
        fwrite(host, 1, out, stdout);
        uprez_picture_unref(&result);
    }
    uprez_destroy(&up);
    uprez_model_unref(&model);
    uprez_context_destroy(&ctx);
    free(host);
    cuCtxPopCurrent(NULL);
    cuDevicePrimaryCtxRelease(device);
    return fflush(stdout) ? 7 : 0;
}
