// The network $title, run once. Made by edgebuild: a beginning for firmware of your own.
${first}#include <cstddef>
#include <cstdint>

#include "${id}_constants.h"
#include "${id}_model.h"
#include "${id}_ops.h"
${vector_include}${variables_include}#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

namespace net = ${id}_model;

alignas($alignment) std::uint8_t arena[net::kArenaBytes];

// The network, ready to run, or a null pointer. Static objects, since most stacks are too small for them.
tflite::MicroInterpreter* Prepare() {
  tflite::InitializeTarget();
  static net::OpResolver resolver;
  if (net::AddOperators(resolver) != kTfLiteOk) return nullptr;
$interpreter
  if (interpreter.AllocateTensors() != kTfLiteOk) return nullptr;
  return &interpreter;
}

bool Fill(tflite::MicroInterpreter& interpreter$which) {
$fill
  return true;
}

int Read(tflite::MicroInterpreter& interpreter$which) {
$read
}

// 0 if all went well.
int Run() {
  static tflite::MicroInterpreter* const interpreter = Prepare();
  if (interpreter == nullptr) {
    MicroPrintf("The network could not be prepared: is the arena too small?");
    return -1;
  }
$reset  if (!Fill(*interpreter$once)) return -2;
  if (interpreter->Invoke() != kTfLiteOk) return -3;
$result
}

}  // namespace

$entry
