/* libuprez: makes pictures bigger with super-resolution networks. Includes everything public. */
#ifndef UPREZ_H
#define UPREZ_H
#include "error.h"
#include "context.h"
#include "picture.h"
#include "model.h"
#include "upscaler.h"
#endif
