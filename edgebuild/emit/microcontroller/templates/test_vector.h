// One sample as the network $title stores it, and what TensorFlow Lite Micro answered on the machine that built this.
// Kernels for a processor may differ by a step in the last bit. Made by edgebuild.
#ifndef ${guard}_TEST_VECTOR_H_
#define ${guard}_TEST_VECTOR_H_

#include <cmath>
#include <cstdint>

#include "${id}_constants.h"

namespace ${id}_model {
$arrays
}  // namespace ${id}_model

#endif  // ${guard}_TEST_VECTOR_H_
