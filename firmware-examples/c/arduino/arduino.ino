// Draws a new picture every few seconds and prints it as characters on the serial monitor.
//
// Beside this sketch: model.h, from `pixgen-edge export model.safetensors --format c-header -o model.h`. The library is the folder that
//     firmware-examples/c/library.sh cortex-m4 ~/Arduino/libraries/Pixgen
// writes for a board whose core package says build.mcu=cortex-m4; other cores have other names. Boards with -mfloat-abi=hard need cortex-m4f,
// whose archive moves to src/cortex-m4/fpv4-sp-d16-hard. `pixgen-edge plan` tells whether a model fits a board.

#define PIXGEN_MODEL_IMPLEMENTATION
#include "model.h"
#include "pixgen.h"

alignas(16) static unsigned char workspace[PIXGEN_MODEL_WORKSPACE];
static struct pixgen model;
static struct pixgen_info info;
static uint64_t seed = 0;

// Takes a band of rows and prints one character for each pixel; for a display, send the bytes there instead.
static void show(const struct pixgen_band *band, void *) {
  static const char shades[] = " .:-=+*#%@";
  const uint8_t *pixel = band->pixels;
  for (uint32_t y = 0; y < band->rows; y++) {
    for (uint32_t x = 0; x < band->width; x++, pixel += band->channels) {
      unsigned sum = 0;
      for (uint32_t c = 0; c < band->channels; c++) sum += pixel[c];
      const char shade = shades[sum * (sizeof shades - 2) / (255 * band->channels)];
      Serial.print(shade);
      Serial.print(shade);
    }
    Serial.println();
  }
}

// Says what is wrong and stays there.
static void check(int error) {
  while (error) {
    Serial.println(pixgen_error_text(error));
    delay(5000);
  }
}

void setup() {
  Serial.begin(115200);
  while (!Serial) delay(10);
  check(pixgen_open(&model, pixgen_model, sizeof pixgen_model));
  check(pixgen_get_info(&model, &info));
  if (info.tests > 0) check(pixgen_self_test(&model, workspace, sizeof workspace));
}

void loop() {
  const unsigned long start = millis();
  check(pixgen_draw(&model, seed % info.classes, seed, 0, workspace, sizeof workspace, show, nullptr));
  Serial.print("ms, with the printing: ");
  Serial.print(millis() - start);
  Serial.println();
  seed++;
  delay(3000);
}
