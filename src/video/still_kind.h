/* The kinds of picture files that are written. */
#ifndef UPZ_STILL_KIND_H
#define UPZ_STILL_KIND_H

typedef enum UpzStillKind {
    UPZ_STILL_NONE, UPZ_STILL_PNG, UPZ_STILL_JPEG, UPZ_STILL_WEBP, UPZ_STILL_TIFF
} UpzStillKind;

#endif
