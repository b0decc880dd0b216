/* A stream with several frames in flight: raw yuv420p frames from stdin to stdout.
 *   ffmpeg -i in.mp4 -f rawvideo -pix_fmt yuv420p - | stream MODEL 640 360 > out.yuv
 * The program owns the frames it reads into: the library takes references, and says by the `free`
 * function when a frame may be used again. */
#include <stdio.h>
#include <stdlib.h>
#include <uprez/uprez.h>

typedef struct Frame {
    int used;
    unsigned char *data;
} Frame;

static void done(void *cookie) /* runs inside send, receive or destroy, on this thread */
{
    ((Frame *)cookie)->used = 0;
}

static int fail(const UprezError *err)
{
    fprintf(stderr, "%s\n", err->text);
    return -err->code;
}

static void write_picture(const UprezPicture *p)
{
    for (int i = 0; i < 3; i++) {
        int w = i ? (p->width + 1) / 2 : p->width, h = i ? (p->height + 1) / 2 : p->height;
        for (int y = 0; y < h; y++)
            fwrite((const char *)p->plane[i] + y * p->stride[i], 1, (size_t)w, stdout);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    int w = atoi(argv[2]), h = atoi(argv[3]), cw = (w + 1) / 2, ch = (h + 1) / 2, r;
    size_t bytes = (size_t)w * (size_t)h + 2 * (size_t)cw * (size_t)ch;
    Frame pool[20] = {{0, NULL}};
    UprezError err = {0};
    UprezContext *ctx;
    UprezModel *model;
    Uprez *up;
    UprezPicture *result;
    if (uprez_context_create(&ctx, NULL, &err) < 0) return fail(&err);
    if (uprez_model_load(&model, ctx, argv[1], NULL, &err) < 0) return fail(&err);
    UprezParams params = {.size = sizeof(params), .models = &model, .n_models = 1};
    if (uprez_create(&up, ctx, &params, &err) < 0) return fail(&err);

    for (int64_t n = 0;; n++) {
        Frame *f = pool;
        while (f->used) f++; /* more frames than can be in flight: one is always free */
        if (!f->data) f->data = malloc(bytes);
        if (!f->data || fread(f->data, 1, bytes, stdin) != bytes) break;
        UprezPicture desc = {.color = {2, 2, 2}, .width = w, .height = h, .pts = n}, *src;
        uprez_format_from_name(&desc.format, "yuv420p");
        desc.plane[0] = f->data;
        desc.plane[1] = f->data + (size_t)w * (size_t)h;
        desc.plane[2] = (unsigned char *)desc.plane[1] + (size_t)cw * (size_t)ch;
        desc.stride[0] = w;
        desc.stride[1] = desc.stride[2] = cw;
        if (uprez_picture_wrap(&src, &desc, done, f, &err) < 0) return fail(&err);
        f->used = 1;
        while ((r = uprez_send(up, src, &err)) == UPREZ_AGAIN) {
            if ((r = uprez_receive(up, &result, -1, &err)) < 0) return fail(&err);
            write_picture(result);
            uprez_picture_unref(&result);
        }
        uprez_picture_unref(&src);
        if (r < 0) return fail(&err);
    }
    uprez_send(up, NULL, &err); /* no more: drain */
    while ((r = uprez_receive(up, &result, -1, &err)) >= 0) {
        write_picture(result);
        uprez_picture_unref(&result);
    }
    uprez_destroy(&up);
    uprez_model_unref(&model);
    uprez_context_destroy(&ctx);
    for (int i = 0; i < 20; i++) free(pool[i].data);
    return r == UPREZ_EOF && !fflush(stdout) ? 0 : fail(&err);
}
