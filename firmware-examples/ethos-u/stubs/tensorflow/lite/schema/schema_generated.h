// A stub for tests.
#pragma once
#define TFLITE_SCHEMA_VERSION 3
namespace tflite {
struct Model {
    unsigned version() const { return TFLITE_SCHEMA_VERSION; }
};
inline const Model *GetModel(const void *file) { return static_cast<const Model *>(file); }
} // namespace tflite
