#include "quality/html.h"

#include <math.h>

const char upz_html_style[] =
    "body{font:16px/1.5 system-ui,sans-serif;max-width:1320px;margin:2em auto;padding:0 1em;color:#222;"
    "background:#fff}table{border-collapse:collapse}td,th{padding:.2em 1em;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "svg{width:100%;height:auto;background:#f7f7f7}.pair{position:relative;overflow:hidden;max-width:100%;"
    "touch-action:none;cursor:ew-resize}.pair img{display:block;max-width:100%}.pair img+img{position:"
    "absolute;left:0;top:0;clip-path:inset(0 0 0 50%)}.pair i{position:absolute;top:0;bottom:0;left:50%;"
    "width:2px;background:#fff;box-shadow:0 0 3px #000}.name{color:#555;font-size:.9em}";

/* The divider follows the pointer, or the arrow keys. */
const char upz_html_script[] =
    "document.querySelectorAll('.pair').forEach(p=>{const im=p.children[1],bar=p.children[2];let at=50;"
    "const set=v=>{at=Math.max(0,Math.min(100,v));im.style.clipPath='inset(0 0 0 '+at+'%)';"
    "bar.style.left=at+'%';p.setAttribute('aria-valuenow',Math.round(at))};"
    "const move=e=>{const r=p.getBoundingClientRect();set((e.clientX-r.left)/r.width*100)};"
    "p.addEventListener('pointermove',move);p.addEventListener('pointerdown',move);"
    "p.addEventListener('keydown',e=>{if(e.key=='ArrowLeft')set(at-2);if(e.key=='ArrowRight')set(at+2)})});";

void upz_html_text(FILE *f, const char *s)
{
    for (; *s; s++) {
        if (*s == '<') fputs("&lt;", f);
        else if (*s == '>') fputs("&gt;", f);
        else if (*s == '&') fputs("&amp;", f);
        else if (*s == '"') fputs("&quot;", f);
        else fputc((unsigned char)*s < 0x20 ? '?' : *s, f);
    }
}

void upz_html_base64(FILE *f, const unsigned char *p, unsigned long n)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (unsigned long i = 0; i < n; i += 3) {
        const unsigned b1 = i + 1 < n ? p[i + 1] : 0, b2 = i + 2 < n ? p[i + 2] : 0;
        fputc(digit[p[i] >> 2], f);
        fputc(digit[(p[i] & 3) << 4 | b1 >> 4], f);
        fputc(i + 1 < n ? digit[(b1 & 15) << 2 | b2 >> 6] : '=', f);
        fputc(i + 2 < n ? digit[b2 & 63] : '=', f);
    }
}

void upz_html_time(FILE *f, double t)
{
    fprintf(f, "%d:%02d:%06.3f", (int)(t / 3600), (int)(t / 60) % 60, fmod(t, 60));
}
