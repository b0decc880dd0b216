/* What the pages share. */
#ifndef UPZ_HTML_H
#define UPZ_HTML_H

#include <stdio.h>

/* The divider between two pictures, which follows the pointer or the arrow keys: style and script. */
extern const char upz_html_style[], upz_html_script[];
/* Text that comes from files or names. */
void upz_html_text(FILE *f, const char *s);
void upz_html_base64(FILE *f, const unsigned char *p, unsigned long n);
/* 1:02:03.456 */
void upz_html_time(FILE *f, double seconds);

#endif
