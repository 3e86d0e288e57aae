// The operators of the network $title: no more is linked than it needs.
// Made by edgebuild.
#ifndef ${guard}_OPS_H_
#define ${guard}_OPS_H_

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

namespace ${id}_model {

constexpr unsigned int kOperatorCount = $count;

using OpResolver = tflite::MicroMutableOpResolver<kOperatorCount>;

// To be called once for a resolver; kTfLiteOk when every operator was added.
inline TfLiteStatus AddOperators(OpResolver& resolver) {
$calls
  return kTfLiteOk;
}

}  // namespace ${id}_model

#endif  // ${guard}_OPS_H_
