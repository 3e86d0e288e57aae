// A stand-in for TFLM's header, for tests of the text that edgebuild emits.
#ifndef STAND_IN_SCHEMA_GENERATED_H_
#define STAND_IN_SCHEMA_GENERATED_H_

namespace tflite {

struct Model;

inline const Model* GetModel(const void* buffer) { return static_cast<const Model*>(buffer); }

}  // namespace tflite

#endif  // STAND_IN_SCHEMA_GENERATED_H_
