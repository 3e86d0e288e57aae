// The network $title for TensorFlow Lite Micro, as the bytes of its .tflite file.
// Made by edgebuild; SHA-256 of the file: $sha256
#include "${id}_model.h"

namespace ${id}_model {

alignas($alignment) const unsigned char kData[kSizeBytes] = {
$bytes
};

}  // namespace ${id}_model
