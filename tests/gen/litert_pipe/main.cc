// Draws pictures 0, 1, .. of a seed, whose classes take turns, and writes their bytes to standard output, each after its inputs:
//
//     main SEED COUNT          for tests/gen/glue_check.py
#include "draw.h"
#include <cstdio>
#include <cstdlib>

static void show(const pixgen_band *band, void *) { fwrite(band->pixels, 1, band->rows * band->width * band->channels, stdout); }

int main(int count, char **arguments) {
    static const char model[16] = {};
    const unsigned long seed = count == 3 ? strtoul(arguments[1], nullptr, 10) : 0, pictures = count == 3 ? strtoul(arguments[2], nullptr, 10) : 0;
    for (unsigned long number = 0; number < pictures; number++) {
        const int status = pixgen_ethos_u_draw(model, static_cast<uint32_t>(number % CLASSES), seed, number, show, nullptr);
        if (status != PIXGEN_OK) {
            return status == PIXGEN_ETHOS_U_RUNTIME ? 100 : status;
        }
        fflush(stdout);
    }
    return 0;
}
