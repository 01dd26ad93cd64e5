// A stub for tests, with the few names of TensorFlow Lite Micro that draw.cc uses.
#pragma once
#include <cstddef>
#include <cstdint>

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
struct TfLiteIntArray {
    int size;
    int data[4];
};
union TfLitePtrUnion {
    int8_t *int8;
    int16_t *i16;
};
struct TfLiteTensor {
    TfLitePtrUnion data;
    TfLiteIntArray *dims;
    size_t bytes;
};
