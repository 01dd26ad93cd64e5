// For the tests: draws class 2 of seed 7 with the stub, and writes the bytes of its rows to standard output. An unknown class is a status, and
// another model an error; the cache is looked after where there is one.
#include "../draw.h"
#include <cstdio>

int cleaned = 0, dropped = 0;
bool dirty = false, dirty_at_start = false;
extern "C" __attribute__((weak)) void ethosu_inference_begin(struct ethosu_driver *, void *) {} // as in Arm's driver

static void show(const pixgen_band *band, void *) { fwrite(band->pixels, 1, band->rows * band->width * band->channels, stdout); }

int main() {
    static const char model[16] = {}, other[16] = {};
    const int unknown = pixgen_ethos_u_draw(model, 3, 7, 0, show, nullptr);
    if (unknown == PIXGEN_ETHOS_U_RUNTIME) {
        return 3;
    }
    if (unknown == PIXGEN_OK || pixgen_ethos_u_draw(other, 2, 7, 0, show, nullptr) != PIXGEN_ETHOS_U_RUNTIME) {
        return 2;
    }
    const int status = pixgen_ethos_u_draw(model, 2, 7, 0, show, nullptr);
    fprintf(stderr, "%d %d %d", cleaned, dropped, dirty_at_start);
    return status;
}
