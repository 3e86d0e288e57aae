// The network $title for TensorFlow Lite Micro, as the bytes of its .tflite file.
// Made by edgebuild; SHA-256 of the file: $sha256
#ifndef ${guard}_MODEL_H_
#define ${guard}_MODEL_H_

#include <cstddef>

namespace ${id}_model {

constexpr std::size_t kSizeBytes = $size;

// Aligned to $alignment bytes, as TensorFlow Lite Micro wants it. It reads weights from here, so it must stay in memory.
extern const unsigned char kData[kSizeBytes];

}  // namespace ${id}_model

#endif  // ${guard}_MODEL_H_
