/* One picture: picture MODEL IN.ppm OUT.ppm (binary PPM, 8 bit). A model is a file, or lanczos.
 * cc picture.c $(pkg-config --cflags --libs uprez) */
#include <stdio.h>
#include <stdlib.h>
#include <uprez/uprez.h>

static void check(int result, const UprezError *err)
{
    if (result >= 0) return;
    fprintf(stderr, "%s\n", err->text);
    exit(-result);
}

int main(int argc, char **argv)
{
    int w, h;
    UprezError err;
    UprezContext *ctx;
    UprezModel *model;
    Uprez *up;
    UprezPicture *src, *dst;
    UprezFormat rgb;
    FILE *in = argc > 3 ? fopen(argv[2], "rb") : NULL;
    if (!in || fscanf(in, "P6 %d %d 255", &w, &h) != 2 || fgetc(in) == EOF) return 3;

    check(uprez_context_create(&ctx, NULL, &err), &err);
    check(uprez_model_load(&model, ctx, argv[1], NULL, &err), &err);
    check(uprez_create(&up, ctx, &(UprezParams){.size = sizeof(UprezParams), .models = &model,
                                                .n_models = 1}, &err), &err);
    check(uprez_format_from_name(&rgb, "rgb24"), &err);
    check(uprez_picture_alloc(&src, &rgb, w, h, &err), &err);
    for (int y = 0; y < h; y++)
        if (fread((char *)src->plane[0] + y * src->stride[0], 3, w, in) != (size_t)w) return 3;
    check(uprez_run(up, src, &dst, &err), &err);

    FILE *out = fopen(argv[3], "wb");
    if (!out) return 7;
    fprintf(out, "P6\n%d %d\n255\n", dst->width, dst->height);
    for (int y = 0; y < dst->height; y++)
        fwrite((char *)dst->plane[0] + y * dst->stride[0], 3, dst->width, out);
    uprez_picture_unref(&src);
    uprez_picture_unref(&dst);
    uprez_destroy(&up);
    uprez_model_unref(&model);
    uprez_context_destroy(&ctx);
    return fclose(out) ? 7 : 0;
}
