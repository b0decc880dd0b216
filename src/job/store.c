#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "json.h"
#include "spool.h"

#define MAX_PLAN ((size_t)64 << 20)
#define PLAN "plan.json"
#define FINISHED "finished.json"

static char *path_of(const UpzStore *s, const char *rest)
{
    return upz_asprintf("%s/%s", s->dir, rest);
}

/* Beside what is written: of a link, beside its end. */
static char *folder_of(const char *output)
{
    char *place = upz_follow_link(output), *dir = place ? upz_asprintf("%s.uprez", place) : NULL;
    upz_free(place);
    return dir;
}

static int no_memory(UprezError *err) { return upz_fail_memory(err, 0, "a file name"); }

/* Deletes what uprez itself puts into a folder, except the plan and the note that the output is whole;
 * anything else stays. */
static void clear_folder(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        const char *ext = upz_extension(e->d_name);
        if (strcmp(ext, "nut") && strcmp(ext, "mkv") && strcmp(ext, "mov") && strcmp(ext, "json") &&
            strcmp(ext, "tmp") && strcmp(ext, "spool"))
            continue;
        if (!strcmp(e->d_name, PLAN) || !strcmp(e->d_name, FINISHED)) continue;
        char *p = upz_asprintf("%s/%s", dir, e->d_name);
        if (p) unlink(p);
        upz_free(p);
    }
    if (d) closedir(d);
}

/* The note that the output is whole goes last: whoever finds it knows, whatever else is left. */
static void clear(const UpzStore *s, bool remove)
{
    char *seg = path_of(s, "seg"), *plan = path_of(s, PLAN), *note = path_of(s, FINISHED);
    if (seg) clear_folder(seg);
    if (seg && remove) rmdir(seg);
    clear_folder(s->dir);
    if (plan) unlink(plan);
    if (note) unlink(note);
    upz_free(seg);
    upz_free(plan);
    upz_free(note);
}

static int make_folder(const char *dir, UprezError *err)
{
    if (mkdir(dir, 0777) == 0 || (errno == EEXIST && upz_is_dir(dir))) return 0;
    return upz_fail(err, UPREZ_ERR_OUTPUT, "%s cannot be created: %s", dir, strerror(errno));
}

/* Finished segments: their notes, "json". */
static int files(const char *seg, const char *ext)
{
    DIR *d = opendir(seg);
    const struct dirent *e;
    int n = 0;
    while (d && (e = readdir(d))) n += !strcmp(upz_extension(e->d_name), ext);
    if (d) closedir(d);
    return n;
}

/* *same: the folder holds this plan. USAGE when it holds segments of another one. */
static int compare_plan(UpzStore *s, const char *file, const char *seg, const char *plan,
                        bool discard, bool *same, UprezError *err)
{
    UpzMap m = {0};
    *same = false;
    if (upz_map_open(&m, file, MAX_PLAN, UPREZ_ERR_OUTPUT, NULL) >= 0)
        *same = m.size == strlen(plan) && !memcmp(m.data, plan, m.size);
    int n = *same || discard ? 0 : files(seg, "json"), r = 0;
    if (n || (!*same && !discard && files(seg, "spool"))) {
        char what[400], work[64] = "the begun segment";
        if (n) snprintf(work, sizeof(work), "%d finished segment%s", n, n == 1 ? "" : "s");
        char *was = upz_calloc(m.size + 1, 1);
        if (was && m.size) memcpy(was, m.data, m.size);
        upz_plan_difference(what, sizeof(what), was ? was : "", plan);
        upz_free(was);
        r = upz_fail(err, UPREZ_ERR_USAGE, "%s has %s of another run (%s): repeat that run to go on "
                     "with it, or give -y to throw its work away", s->dir, work, what);
    }
    upz_map_close(&m);
    return r;
}

static int lock_folder(UpzStore *s, const char *output, UprezError *err)
{
    s->lock = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->lock < 0 || flock(s->lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return 0;
    return upz_fail(err, UPREZ_ERR_OUTPUT, "another uprez is writing %s", output);
}

int upz_store_open(UpzStore *s, const char *output, const char *plan, const char *ext, int mode,
                   UprezError *err)
{
    *s = (UpzStore){.lock = -1, .ext = ext};
    s->dir = folder_of(output);
    s->plan_id = upz_calloc(1, UPZ_SHA256_HEX);
    char *seg = s->dir ? path_of(s, "seg") : NULL, *file = s->dir ? path_of(s, PLAN) : NULL;
    int r = s->dir && s->plan_id && seg && file ? make_folder(s->dir, err) : no_memory(err);
    if (r >= 0) r = lock_folder(s, output, err);
    if (r >= 0) {
        upz_sha256(plan, strlen(plan), s->plan_id);
        bool same;
        r = compare_plan(s, file, seg, plan, mode & UPZ_STORE_DISCARD, &same, err);
        s->resumed = mode & UPZ_STORE_RESUME && same;
    }
    if (r >= 0) {
        if (!s->resumed) clear(s, false);
        r = make_folder(seg, err);
        if (r >= 0 && !s->resumed) r = upz_write_atomic(file, plan, strlen(plan), err);
    }
    upz_free(seg);
    upz_free(file);
    if (r < 0) upz_store_close(s, false);
    return r;
}

bool upz_store_there(const char *output, const char *plan)
{
    UpzMap m = {0};
    char *dir = folder_of(output), *file = dir ? upz_asprintf("%s%s", dir, plan ? "/" PLAN : "") : NULL;
    bool yes = file && !plan && upz_exists(file);
    if (file && plan && upz_map_open(&m, file, MAX_PLAN, UPREZ_ERR_OUTPUT, NULL) >= 0)
        yes = m.size == strlen(plan) && !memcmp(m.data, plan, m.size);
    upz_map_close(&m);
    upz_free(file);
    upz_free(dir);
    return yes;
}

char *upz_store_temporary(const UpzStore *s, size_t i)
{
    return upz_asprintf("%s/seg/%zu.%ld.tmp", s->dir, i, (long)getpid());
}

char *upz_store_segment(const UpzStore *s, size_t i)
{
    return upz_asprintf("%s/seg/%zu.%s", s->dir, i, s->ext);
}

char *upz_store_spool(const UpzStore *s, size_t i)
{
    return upz_asprintf("%s/seg/%zu.spool", s->dir, i);
}

int64_t upz_store_bytes(const UpzStore *s, size_t i)
{
    struct stat st;
    char *seg = upz_store_segment(s, i);
    int64_t n = seg && stat(seg, &st) == 0 ? (int64_t)st.st_size : 0;
    upz_free(seg);
    return n;
}

static int64_t number(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : -1;
}

/* 1 or 0, or an error: then nobody knows. */
static int same_digest(const char *seg, const cJSON *want, UprezError *err)
{
    char hex[UPZ_SHA256_HEX];
    if (!cJSON_IsString(want)) return 0;
    int r = upz_sha256_file(seg, hex, UPREZ_ERR_OUTPUT, err);
    return r < 0 ? r : !strcmp(hex, want->valuestring);
}

/* 1: the segment is there as it was written; 0: it is not; or an error, and nobody knows. */
static int load_note(const UpzStore *s, size_t i, UpzUnit *unit, UprezError *err)
{
    char *note = upz_asprintf("%s/seg/%zu.json", s->dir, i), *seg = upz_store_segment(s, i);
    UpzMap m = {0};
    struct stat st;
    int r = note && seg ? 0 : no_memory(err);
    if (r >= 0 && upz_exists(note)) r = upz_map_open(&m, note, 65536, UPREZ_ERR_OUTPUT, err);
    if (r >= 0 && m.size) {
        cJSON *o = cJSON_ParseWithLength((const char *)m.data, m.size);
        const cJSON *plan = cJSON_GetObjectItemCaseSensitive(o, "plan");
        unit->frames = number(o, "frames");
        unit->first = number(o, "first");
        unit->end = number(o, "end");
        unit->damaged = number(o, "damaged");
        unit->held = number(o, "held");
        unit->side = (uint32_t)number(o, "side");
        r = cJSON_IsString(plan) && !strcmp(plan->valuestring, s->plan_id) && unit->frames >= 0;
        if (r && unit->frames)
            r = stat(seg, &st) == 0 && (int64_t)st.st_size == number(o, "bytes")
                    ? same_digest(seg, cJSON_GetObjectItemCaseSensitive(o, "sha256"), err) : 0;
        cJSON_Delete(o);
    }
    upz_map_close(&m);
    upz_free(note);
    upz_free(seg);
    return r;
}

/* Pictures that wait in a unit's spool; that of a finished one goes. */
static int64_t load_spool(const UpzStore *s, size_t i, const UprezPicture *like, bool done)
{
    char *path = upz_store_spool(s, i);
    UpzSpool *spool = NULL;
    int64_t n = 0;
    if (path && done) unlink(path);
    else if (path && upz_spool_open(&spool, path, s->plan_id, like, false, NULL) >= 0 && spool)
        n = upz_spool_count(spool);
    upz_spool_close(&spool);
    upz_free(path);
    return n;
}

int upz_store_load(UpzStore *s, UpzUnits *units, const UprezPicture *like)
{
    int n = 0;
    if (!s->resumed) return 0;
    for (size_t i = 0;; i++) {
        UpzUnit u = {0};
        if (i >= units->n) {
            if (!units->by_count) break;
            bool more = load_note(s, i, &u, NULL) > 0 || load_spool(s, i, like, false);
            if (!more || upz_units_add(units, NULL) < 0) break;
        }
        UpzUnit *unit = &units->items[i];
        u = *unit;
        if (load_note(s, i, &u, NULL) > 0) {
            u.done = true;
            *unit = u;
            n++;
        }
        unit->spooled = load_spool(s, i, like, unit->done);
        unit->replay = unit->spooled > 0;
    }
    return n;
}

int upz_store_intact(const UpzStore *s, size_t i, UprezError *err)
{
    UpzUnit unit;
    int r = load_note(s, i, &unit, err);
    if (r) return r < 0 ? r : 0;
    char *note = upz_asprintf("%s/seg/%zu.json", s->dir, i);
    if (note) unlink(note);
    upz_free(note);
    return upz_fail(err, UPREZ_ERR_OUTPUT, "segment %zu in %s is not as it was written: the disk or "
                    "another program changed it; the same command makes it again", i, s->dir);
}

int upz_store_finish(const UpzStore *s, size_t i, const UpzUnit *unit, UprezError *err)
{
    char *tmp = upz_store_temporary(s, i), *seg = upz_store_segment(s, i);
    char *note = upz_asprintf("%s/seg/%zu.json", s->dir, i);
    struct stat st = {0};
    char hex[UPZ_SHA256_HEX] = "";
    int r = tmp && seg && note ? 0 : no_memory(err);
    if (r >= 0 && unit->frames) {
        if (stat(tmp, &st) < 0)
            r = upz_fail(err, UPREZ_ERR_OUTPUT, "%s has gone: %s", tmp, strerror(errno));
        else
            r = upz_rename_synced(tmp, seg, err);
        if (r >= 0) r = upz_sha256_file(seg, hex, UPREZ_ERR_OUTPUT, err);
    }
    if (r >= 0) {
        char text[512];
        int n = snprintf(text, sizeof(text),
                         "{\"plan\": \"%s\", \"frames\": %lld, \"first\": %lld, \"end\": %lld, "
                         "\"damaged\": %lld, \"held\": %lld, \"side\": %u, \"bytes\": %lld, "
                         "\"sha256\": \"%s\"}\n", s->plan_id,
                         (long long)unit->frames, (long long)unit->first, (long long)unit->end,
                         (long long)unit->damaged, (long long)unit->held, unit->side, (long long)st.st_size,
                         hex);
        r = upz_write_atomic(note, text, (size_t)n, err);
    }
    char *spool = r >= 0 ? upz_store_spool(s, i) : NULL;
    if (spool) unlink(spool);
    upz_free(spool);
    upz_free(tmp);
    upz_free(seg);
    upz_free(note);
    return r;
}

int upz_store_mark_finished(const UpzStore *s, const char *part, const UpzFinished *what,
                            UprezError *err)
{
    struct stat st;
    char inode[32], *note = path_of(s, FINISHED);
    int r = note ? 0 : no_memory(err);
    if (r >= 0 && stat(part, &st) < 0)
        r = upz_fail(err, UPREZ_ERR_OUTPUT, "%s has gone: %s", part, strerror(errno));
    if (r >= 0) {
        snprintf(inode, sizeof(inode), "%llu", (unsigned long long)st.st_ino);
        const UpzJsonRow rows[] = {
            UPZ_JSON_TEXT("plan", s->plan_id), UPZ_JSON_TEXT("inode", inode),
            UPZ_JSON_INT("bytes", st.st_size), UPZ_JSON_INT("frames", what->frames),
            UPZ_JSON_INT("damaged", what->damaged), UPZ_JSON_INT("held", what->held),
            UPZ_JSON_TEXT("damage", what->damage)};
        cJSON *o = cJSON_CreateObject();
        char *text = upz_json_rows(o, rows, UPZ_COUNT(rows)) ? cJSON_Print(o) : NULL;
        r = text ? upz_write_atomic(note, text, strlen(text), err) : no_memory(err);
        cJSON_free(text);
        cJSON_Delete(o);
    }
    upz_free(note);
    return r;
}

static bool is_text(const cJSON *o, const char *key, const char *want)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsString(v) && !strcmp(v->valuestring, want);
}

bool upz_store_finished(const char *output, const char *plan, UpzFinished *what)
{
    char *dir = folder_of(output), *note = dir ? upz_asprintf("%s/" FINISHED, dir) : NULL;
    char inode[32], id[UPZ_SHA256_HEX] = "";
    UpzMap m = {0};
    struct stat st;
    bool yes = false;
    if (plan) upz_sha256(plan, strlen(plan), id);
    if (note && stat(output, &st) == 0 && upz_map_open(&m, note, 65536, UPREZ_ERR_OUTPUT, NULL) >= 0) {
        cJSON *o = cJSON_ParseWithLength((const char *)m.data, m.size);
        snprintf(inode, sizeof(inode), "%llu", (unsigned long long)st.st_ino);
        yes = is_text(o, "inode", inode) && number(o, "bytes") == (int64_t)st.st_size &&
              number(o, "frames") >= 0 && (!plan || is_text(o, "plan", id));
        const cJSON *damage = cJSON_GetObjectItemCaseSensitive(o, "damage");
        if (what) {
            *what = (UpzFinished){.frames = number(o, "frames"), .damaged = number(o, "damaged"),
                                  .held = number(o, "held")};
            if (cJSON_IsString(damage))
                snprintf(what->damage, sizeof(what->damage), "%s", damage->valuestring);
        }
        cJSON_Delete(o);
    }
    upz_map_close(&m);
    upz_free(note);
    upz_free(dir);
    return yes;
}

int upz_store_clean(const char *output, UprezError *err)
{
    UpzStore s = {.lock = -1, .dir = folder_of(output)};
    int r = s.dir ? lock_folder(&s, output, err) : no_memory(err);
    upz_store_close(&s, r >= 0);
    return r;
}

void upz_store_close(UpzStore *s, bool remove)
{
    if (s->dir && remove) {
        clear(s, true);
        rmdir(s->dir);
    }
    if (s->lock >= 0) close(s->lock);
    upz_free(s->dir);
    upz_free(s->plan_id);
    *s = (UpzStore){.lock = -1};
}
