/* Tiles as Intel's AMX has them: eight registers, here 0-5 for sums, 6 and 7 for what is
 * multiplied. */
#if !defined(__AMX_BF16__) && !defined(__AMXBF16__) /* clang before 16 names it so */
#error "build this file with the amx flags"
#endif

#define TILES(name) name##_amx

typedef struct TileBank {
    char none;
} TileBank;

/* No sums and no inputs are written by the compiler's own stores while they are tiles: loads need no
 * barrier, stores are one. */
#define TILE_LOAD(bank, t, p, step) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(p), "r"((ptrdiff_t)(step)))
#define TILE_LOAD_ROWS(bank, t, p, step, rows) TILE_LOAD(bank, t, p, step)
#define TILE_ZERO(bank, t) __asm__ volatile("tilezero %%tmm" #t ::)
#define TILE_MULTIPLY(bank, c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)
#define TILE_MULTIPLY_INT8(bank, c, a, b) \
    __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)
#define TILE_STORE(bank, t, p, step) \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(p), "r"((ptrdiff_t)(step)) : "memory")

/* Keeps a pointer in a register of its own: compilers would compute all from one, and spill the differences. */
#define KEEP(p) __asm__("" : "+r"(p))

static void tiles_begin(void)
{
    struct {
        uint8_t palette, start_row, zero[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) shape.row_bytes[i] = 64, shape.rows[i] = UPZ_TILE_SIDE;
    __asm__ volatile("ldtilecfg %0" ::"m"(shape) : "memory");
}

static void tiles_end(void) { __asm__ volatile("tilerelease" ::: "memory"); }
