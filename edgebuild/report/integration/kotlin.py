"""The artifact on Android, in Kotlin: LiteRT's interpreter."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.report.integration.facts import LIMITS, End, Facts, at, number, quoted, shown

# The last line of releases whose package holds the Interpreter (2.x has CompiledModel instead, google-ai-edge/LiteRT
# issue 4775); its libraries are aligned to 16 KB pages from 1.4.0 on (issues 8 and 4286 there).
VERSION = "1.4.1"
_BYTES = {"float32": 4, "bool": 1, "int64": 8, "int8": 1, "uint8": 1, "int16": 2, "int32": 4}
_ARRAYS = {"bool": "BooleanArray", "int64": "LongArray"}
_PUT = {
    "float32": "putFloat({})",
    "bool": "put(if ({}) 1 else 0)",
    "int64": "putLong({})",
    "int8": "put(({}).toByte())",
    "uint8": "put(({}).toByte())",
    "int16": "putShort(({}).toShort())",
    "int32": "putInt({})",
}
_GET = {
    "float32": "float",
    "bool": "get() != 0.toByte()",
    "int64": "long",
    "int8": "get().toInt()",
    "uint8": "get().toInt() and 0xff",
    "int16": "short.toInt()",
    "int32": "int",
}
_QUANTIZED = """
    /** A real value as the file stores it: rounded half away from zero, and kept within the type. */
    private fun quantized(value: Float, scale: Float, zeroPoint: Int, least: Int, most: Int): Int {
        val steps = (value / scale).toDouble()
        val rounded = truncate(if (steps < 0) steps - 0.5 else steps + 0.5) + zeroPoint
        return rounded.coerceIn(least.toDouble(), most.toDouble()).toInt()
    }
"""
_LOADED = """
    private fun mapped(context: Context): MappedByteBuffer =
        context.assets.openFd("{file}").use {{ asset ->
            FileInputStream(asset.fileDescriptor).use {{ stream ->
                stream.channel.map(FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.declaredLength)
            }}
        }}

    private fun buffer(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())
"""


def gradle(facts: Facts) -> str:
    """Of `app/build.gradle.kts`."""
    uncompressed = f'androidResources {{ noCompress += "tflite" }}  // {facts.file} is mapped from the APK'
    needs = f'implementation("com.google.ai.edge.litert:litert:{VERSION}")'
    return f"android {{\n    {uncompressed}\n}}\n\ndependencies {{\n    {needs}\n}}\n"


def program(facts: Facts) -> str:
    """A class that owns the interpreter, with a function `predict` of all inputs that returns all outputs."""
    lines = [
        "import android.content.Context",
        "import java.io.FileInputStream",
        *(f"import java.nio.{name}" for name in ("ByteBuffer", "ByteOrder", "MappedByteBuffer")),
        "import java.nio.channels.FileChannel",
        *(["import kotlin.math.truncate"] if any(end.scale for end in facts.inputs) else []),
        "import org.tensorflow.lite.Interpreter",
        "",
        f"class {facts.name}(context: Context) : AutoCloseable {{",
        "    private val interpreter = Interpreter(mapped(context), Interpreter.Options().setNumThreads(2))",
    ]
    lines += [f"    val labels = listOf({_quoted(facts.labels)})"] if facts.labels else []
    lines += ["", *(f"    {line}" if line else "" for line in _predict(facts)), ""]
    lines.append("    override fun close() = interpreter.close()")
    text = "\n".join(lines) + "\n" + _LOADED.format(file=facts.file)
    if any(end.scale for end in facts.inputs):
        text += _QUANTIZED
    return text + "}\n"


def _quoted(texts: tuple[str, ...]) -> str:
    return quoted(texts).replace("$", "\\$")  # which begins an expression


def _predict(facts: Facts) -> Iterator[str]:
    for end in (*facts.inputs, *facts.outputs):
        yield f"// {shown(end)}"
    made = [_array(end) for end in facts.outputs]
    returns = {1: made[0], 2: f"Pair<{', '.join(made)}>"}.get(len(made), "List<Any>")
    given = ", ".join(f"{end.variable}: {_array(end)}" for end in facts.inputs)
    yield f"fun predict({given}): {returns} {{"
    if facts.resets:
        yield "    interpreter.resetVariableTensors()  // samples are independent: no state of the last one"
    for end in facts.inputs:
        yield from (f"    {line}" for line in _fed(end, facts))
    for end in facts.outputs:
        yield f"    val made{end.position} = buffer({end.size * _BYTES[end.dtype]})"
    inputs = ", ".join(f"stored{end.position}" for end in facts.inputs)
    outputs = ", ".join(f"{end.position} to made{end.position}" for end in facts.outputs)
    yield f"    interpreter.runForMultipleInputsOutputs(arrayOf<Any>({inputs}), mapOf<Int, Any>({outputs}))"
    read = [_read(end) for end in facts.outputs]
    for end in facts.outputs:
        yield f"    made{end.position}.rewind()"
    joined = ", ".join(read)
    yield f"    return {read[0] if len(read) == 1 else f'Pair({joined})' if len(read) == 2 else f'listOf({joined})'}"
    yield "}"


def _array(end: End) -> str:
    return "FloatArray" if end.is_real else _ARRAYS.get(end.dtype, "IntArray")


def _fed(end: End, facts: Facts) -> Iterator[str]:
    name = end.variable
    yield f"require({name}.size == {end.size})"
    yield f"val stored{end.position} = buffer({end.size * _BYTES[end.dtype]})"
    value = f"{name}[i]"
    if end.normalizes:
        yield from _constants(facts)
        value = f"({value} - {at('mean', facts.mean)}) * {at('factor', facts.factor)}"
    if end.scale:
        least, most = LIMITS[end.dtype]
        value = f"quantized({value}, {number(end.scale, 'f')}, {end.zero_point}, {least}, {most})"
    yield f"for (i in 0 until {end.size}) stored{end.position}.{_PUT[end.dtype].format(value)}"


def _constants(facts: Facts) -> Iterator[str]:
    for name, values in (("mean", facts.mean), ("factor", facts.factor)):
        yield f"val {name} = floatArrayOf({', '.join(number(value, 'f') for value in values)})"


def _read(end: End) -> str:
    value = f"made{end.position}.{_GET[end.dtype]}"
    if end.scale:
        value = f"(({value}) - {_signed(end.zero_point)}) * {number(end.scale, 'f')}"
    return f"{_array(end)}({end.size}) {{ {value} }}"


def _signed(value: int) -> str:
    return f"({value})" if value < 0 else str(value)
