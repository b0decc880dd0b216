// engine-libtorch.so: LibTorch behind the plain-C table of module.h. The one C++ file; made by
// tools/build-libtorch.sh, once for the processor's library and, with UPZ_TORCH_CUDA_PART, once more
// for what needs CUDA's headers.
//
// A network of ours comes as TorchScript too (script.h), so that running it and exporting it are the
// same thing. It runs without the optimising executor: that profiles the first runs and fuses later
// ones, and a frame's bytes would depend on how many came before.
#include "engine/libtorch/module.h"

#if defined(UPZ_TORCH_CUDA_PART)

#include <ATen/cuda/CUDAGraph.h>

#include <exception>
#include <memory>

namespace {

void *record(void (*body)(void *arg), void *arg)
{
    std::unique_ptr<at::cuda::CUDAGraph> graph;
    try {
        graph.reset(new at::cuda::CUDAGraph());
#if UPZ_TORCH_VERSION >= 20100
        // other threads may go on using the device meanwhile
        graph->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
#else
        graph->capture_begin();
#endif
    } catch (...) {
        return nullptr;
    }
    bool good = true;
    try {
        body(arg);
    } catch (...) {
        good = false;
    }
    try {
        graph->capture_end();
    } catch (...) {
        good = false;
    }
    return good ? graph.release() : nullptr;
}

int replay(void *graph)
{
    try {
        static_cast<at::cuda::CUDAGraph *>(graph)->replay();
        return 0;
    } catch (...) {
        return -1;
    }
}

void drop(void *graph)
{
    try {
        delete static_cast<at::cuda::CUDAGraph *>(graph);
    } catch (...) {
    }
}

const UpzTorchCuda table = {UPZ_TORCH_ABI, record, replay, drop};

} // namespace

extern "C" __attribute__((visibility("default"))) const UpzTorchCuda *
upz_engine_module_cuda(unsigned abi)
{
    return abi == UPZ_TORCH_ABI ? &table : nullptr;
}

#else

#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#if UPZ_TORCH_VERSION >= 20200
#define UPZ_XPU
#include <ATen/detail/XPUHooksInterface.h>
#endif
#include <c10/core/InferenceMode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/script.h>

#include <dlfcn.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <sstream>
#include <string>
#include <vector>

namespace {

using torch::jit::IValue;
using torch::jit::Module;

// ---- errors ----

// Our own sentence on its way out.
struct Fail {
    int code;
    std::string text;
};

[[noreturn]] void fail(int code, const char *fmt, ...) UPZ_PRINTF(2, 3);
[[noreturn]] void fail(int code, const char *fmt, ...)
{
    char text[900];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    throw Fail{code, text};
}

int put(UprezError *err, int code, const std::string &text)
{
    err->code = code;
    snprintf(err->text, sizeof(err->text), "%s", text.c_str());
    for (char *p = err->text; *p; p++)
        if (static_cast<unsigned char>(*p) < 32 || *p == 127) *p = ' ';
    return code;
}

// The one line of LibTorch's message that says what is wrong: behind the script's own list of calls,
// before the library's.
std::string words(const std::string &all)
{
    size_t from = all.rfind("RuntimeError: ");
    from = from == std::string::npos ? 0 : from + 14;
    from = all.find_first_not_of(" \n", from);
    if (from == std::string::npos) return "no reason given";
    size_t to = all.find('\n', from);
    std::string line = all.substr(from, to == std::string::npos ? to : to - from);
    while (!line.empty() && strchr(" :.", line.back())) line.pop_back();
    return line.substr(0, 400);
}

bool has(const std::string &text, const char *part)
{
    return text.find(part) != std::string::npos;
}

bool is_memory(const std::string &text)
{
    return has(text, "out of memory") || has(text, "can't allocate memory") ||
           has(text, "not enough memory");
}

// No kernel for that type of numbers on this device.
bool is_lacking(const std::string &text)
{
    return has(text, "not implemented for") || has(text, "unsupported scalar type") ||
           has(text, "Unsupported data type");
}

// Runs f; whatever it throws becomes a code and a sentence. `what` stands before LibTorch's words.
template <class F> int guarded(UprezError *err, int code, const std::string &what, F f) noexcept
{
    try {
        try {
            f();
            return 0;
        } catch (const Fail &e) {
            return put(err, e.code, e.text);
        } catch (const std::bad_alloc &) {
            return put(err, UPREZ_ERR_MEMORY, what + ": out of memory");
        } catch (const c10::Error &e) {
            const std::string text = e.what_without_backtrace();
            return put(err, is_memory(text) ? UPREZ_ERR_MEMORY : code, what + ": " + words(text));
        } catch (const std::exception &e) {
            return put(err, is_memory(e.what()) ? UPREZ_ERR_MEMORY : code,
                       what + ": " + words(e.what()));
        } catch (...) {
            return put(err, code, what + ": LibTorch failed without a reason");
        }
    } catch (...) { // no memory for the sentence
        err->code = UPREZ_ERR_MEMORY;
        snprintf(err->text, sizeof(err->text), "out of memory in LibTorch");
        return UPREZ_ERR_MEMORY;
    }
}

// The message of whatever is being handled.
std::string current_words()
{
    try {
        throw;
    } catch (const c10::Error &e) {
        return e.what_without_backtrace();
    } catch (const std::exception &e) {
        return e.what();
    } catch (...) {
        return "";
    }
}

// LibTorch's remarks on old files and unsupported hardware are not for our standard error.
struct Silent : c10::WarningHandler {
#if UPZ_TORCH_VERSION >= 20000
    void process(const c10::Warning &) override {}
#else
    void process(const c10::SourceLocation &, const std::string &, const bool) override {}
#endif
};
#if UPZ_TORCH_VERSION >= 20000
using Quiet = c10::WarningUtils::WarningHandlerGuard;
#else
using Quiet = c10::Warning::WarningHandlerGuard;
#endif

// ---- a network of ours ----

void define(Module *module, const UpzTorchScript &script)
{
    for (size_t i = 0; i < script.n_weights; i++) {
        const UpzTorchWeight &w = script.weights[i];
        const std::vector<int64_t> dims(w.dims, w.dims + w.n_dims);
        const at::Tensor data = at::from_blob(const_cast<float *>(w.data), dims, at::kFloat);
        module->register_parameter(w.self + strlen("self."), data.clone(), false);
    }
    module->define(script.text);
}

// In files we write: what the network's one channel is.
const char STUDIO[] = "luma, studio range";

// ---- devices ----

// A library beside libtorch_cpu.so, "" if it is not there.
std::string beside(const char *name)
{
    Dl_info info;
    const auto address = reinterpret_cast<void *>(&at::globalContext);
    if (!dladdr(address, &info) || !info.dli_fname) return "";
    const std::string self = info.dli_fname;
    const size_t slash = self.rfind('/');
    if (slash == std::string::npos) return "";
    const std::string path = self.substr(0, slash + 1) + name;
    FILE *f = fopen(path.c_str(), "rb");
    if (!f) return "";
    fclose(f);
    return path;
}

void open_beside(const char *name, const char *kind)
{
    const std::string path = beside(name);
    if (path.empty())
        fail(UPREZ_ERR_DEVICE, "this LibTorch (%s) is built without %s; install one that has it, or "
             "give -d cpu", UPZ_TORCH_TEXT, kind);
    if (!dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)) {
        const char *why = dlerror();
        fail(UPREZ_ERR_DEVICE, "LibTorch's part for %s cannot be loaded: %s", kind,
             why ? why : "no reason given");
    }
}

// The device that was asked for, or an error; never another one.
c10::Device need_device(const char *kind, int index)
{
    if (!strcmp(kind, "cpu")) return c10::Device(c10::kCPU);
    if (!strcmp(kind, "cuda")) {
        open_beside("libtorch_cuda.so", "CUDA");
        const at::CUDAHooksInterface &hooks = at::detail::getCUDAHooks();
        // the hooks are looked up once a process, and a stub stays
        if (!hooks.hasCUDART())
            fail(UPREZ_ERR_DEVICE, "LibTorch was used in this process without CUDA before; a cuda "
                 "device has to be the first one opened");
        const int n = hooks.hasCUDA() ? static_cast<int>(hooks.getNumGPUs()) : 0;
        if (index >= n)
            fail(UPREZ_ERR_DEVICE, "LibTorch finds %d CUDA devices here, so there is no cuda:%d; "
                 "see 'uprez devices', or give -d cpu", n, index);
#if UPZ_TORCH_VERSION >= 20600
        hooks.init();
#else
        hooks.initCUDA();
#endif
        // fp32 means fp32, not 10 bits of it
        at::globalContext().setAllowTF32CuDNN(false);
        return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
    }
#ifdef UPZ_XPU
    if (!strcmp(kind, "xpu")) {
        open_beside("libtorch_xpu.so", "XPU");
        const at::XPUHooksInterface &hooks = at::detail::getXPUHooks();
        const int n = hooks.hasXPU() ? static_cast<int>(hooks.getNumGPUs()) : 0;
        if (index >= n)
            fail(UPREZ_ERR_DEVICE, "LibTorch finds %d XPU devices here, so there is no xpu:%d", n,
                 index);
#if UPZ_TORCH_VERSION >= 20600
        hooks.init();
#else
        hooks.initXPU();
#endif
        return c10::Device(c10::kXPU, static_cast<c10::DeviceIndex>(index));
    }
#endif
    fail(UPREZ_ERR_DEVICE, "engine libtorch (LibTorch %s) has no device '%s'", UPZ_TORCH_TEXT, kind);
}

// NULL: without CUDA's headers there was nothing to build.
const UpzTorchCuda *cuda_part()
{
    Dl_info info;
    if (!dladdr(reinterpret_cast<void *>(&cuda_part), &info) || !info.dli_fname) return nullptr;
    std::string path = info.dli_fname;
    const size_t dot = path.rfind(".so");
    if (dot == std::string::npos) return nullptr;
    path.insert(dot, "-cuda");
    void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const auto entry = handle ? reinterpret_cast<UpzTorchCudaEntry>(
                                    dlsym(handle, UPZ_TORCH_CUDA_ENTRY))
                              : nullptr;
    return entry ? entry(UPZ_TORCH_ABI) : nullptr;
}

// ---- types ----

const char *type_name(at::ScalarType type)
{
    return type == at::kHalf ? "fp16" : type == at::kBFloat16 ? "bf16" : "fp32";
}

at::ScalarType type_of(const char *precision)
{
    if (!strcmp(precision, "fp16")) return at::kHalf;
    if (!strcmp(precision, "bf16")) return at::kBFloat16;
    if (!strcmp(precision, "fp32")) return at::kFloat;
    fail(UPREZ_ERR_DEVICE, "engine libtorch computes in fp32, fp16 or bf16, not in %s", precision);
}

// The first tensor in whatever a forward gave back; undefined if there is none.
at::Tensor first_tensor(const IValue &value, int depth = 0)
{
    if (value.isTensor()) return value.toTensor();
    if (depth > 4) return {};
    if (value.isTuple()) {
        for (const IValue &v : value.toTupleRef().elements()) {
            at::Tensor t = first_tensor(v, depth + 1);
            if (t.defined()) return t;
        }
    } else if (value.isTensorList()) {
        for (const at::Tensor &t : value.toTensorVector()) return t;
    } else if (value.isList()) {
        for (const IValue &v : value.toListRef()) {
            at::Tensor t = first_tensor(v, depth + 1);
            if (t.defined()) return t;
        }
    } else if (value.isGenericDict()) {
        for (const auto &entry : value.toGenericDict()) {
            at::Tensor t = first_tensor(entry.value(), depth + 1);
            if (t.defined()) return t;
        }
    }
    return {};
}

struct Slot {
    at::Tensor in, out;         // at the interface, on the host
    at::Tensor dev_in, dev_out; // the device's, if it has memory of its own
    c10::optional<c10::Stream> stream;
    void *graph = nullptr; // recorded
};

} // namespace

// ---- a network ----

struct UpzTorchNet {
    std::string name; // for messages
    Module module;
    bool ours = false, engines = false; // engines: holds some of torch_tensorrt
    bool settled = false;               // type is known to be taken
    at::ScalarType type = at::kFloat;   // of the input
    std::vector<at::ScalarType> types;  // to try, best first
    c10::Device device = c10::Device(c10::kCPU);
    int threads = 1;
    bool half_io = false, studio = false;
    void *caller_stream = nullptr;
    std::vector<Slot> slots;
    const UpzTorchCuda *cuda = nullptr;
    Silent silent;

    ~UpzTorchNet() { drop_slots(); }

    void drop_slots()
    {
        for (Slot &s : slots)
            if (s.graph) cuda->drop(s.graph);
        slots.clear();
    }

    at::Tensor call(const at::Tensor &input)
    {
        torch::jit::GraphOptimizerEnabledGuard plain(false);
        IValue result = module.forward({input});
        at::Tensor out = first_tensor(result);
        if (result.isNone())
            fail(UPREZ_ERR_MODEL, "%s: its forward gives back nothing (None) where a tensor is "
                 "expected; save it again with one that returns the picture", name.c_str());
        if (!out.defined())
            fail(UPREZ_ERR_MODEL, "%s: its forward gives back %s, not a tensor", name.c_str(),
                 result.tagKind().c_str());
        if (out.dim() != 4)
            fail(UPREZ_ERR_MODEL, "%s: its forward gives back a tensor of %d dimensions, not one "
                 "picture N x C x H x W", name.c_str(), static_cast<int>(out.dim()));
        return out;
    }

    // In the network's type and the order of memory its kernels are fastest in.
    at::Tensor arrange(const at::Tensor &x) const
    {
        return x.to(at::TensorOptions().device(device).dtype(type), false, false,
                    at::MemoryFormat::ChannelsLast);
    }

    // A run on zeros, which also finds the input's type out when it is not known.
    at::Tensor trial(const int64_t in[4])
    {
        at::Tensor zeros = at::zeros({in[0], in[1], in[2], in[3]}, at::kFloat);
        if (settled) return call(arrange(zeros));
        std::exception_ptr first, lacking;
        at::ScalarType lacking_type = at::kFloat;
        for (at::ScalarType t : types) {
            type = t;
            try {
                at::Tensor out = call(arrange(zeros));
                settled = true;
                return out;
            } catch (...) {
                const std::string text = current_words();
                if (is_memory(text)) throw;
                if (!first) first = std::current_exception();
                if (!lacking && is_lacking(text)) {
                    lacking = std::current_exception();
                    lacking_type = t;
                }
            }
        }
        // the type was right, but this LibTorch has no such arithmetic: that says more
        type = lacking ? lacking_type : types.front();
        std::rethrow_exception(lacking ? lacking : first);
    }

    void begin() const
    {
        if (at::get_num_threads() != threads) at::set_num_threads(threads);
    }
};

namespace {

// What every call into LibTorch stands in.
struct Scope {
    explicit Scope(UpzTorchNet *net) : quiet(&net->silent) { net->begin(); }
    Quiet quiet;
    c10::InferenceMode inference;
};

// Denormals cost 100 times a normal number and are never seen; the thread's mode is put back.
struct Flush {
    bool on = at::globalContext().setFlushDenormal(true);
    ~Flush()
    {
        if (on) at::globalContext().setFlushDenormal(false);
    }
};

// Its class, or its operations.
bool names_trt(const std::string &text)
{
    return has(text, "torch.classes.tensorrt") || has(text, "tensorrt::");
}

// LibTorch's words with what they mean for whoever gave the file.
[[noreturn]] void explain(const std::string &name, const std::string &text, const char *doing)
{
    if (is_memory(text)) fail(UPREZ_ERR_MEMORY, "%s: %s", name.c_str(), words(text).c_str());
    if (has(text, "Expected Tensor but got None") || has(text, "There were no tensor arguments"))
        fail(UPREZ_ERR_MODEL, "%s: a step of its program has nothing (None) where a tensor is "
             "needed; it was perhaps saved by another version than LibTorch %s: save it again with "
             "that one", name.c_str(), UPZ_TORCH_TEXT);
    if (has(text, "Unknown builtin op") || has(text, "Unknown type name"))
        fail(UPREZ_ERR_MODEL, "%s needs what LibTorch %s has not: %s; it was saved by another "
             "version, or needs a library of its own", name.c_str(), UPZ_TORCH_TEXT,
             words(text).c_str());
    if (has(text, "PytorchStreamReader") || has(text, "zip archive"))
        fail(UPREZ_ERR_MODEL, "%s is damaged, or no TorchScript: %s", name.c_str(),
             words(text).c_str());
    fail(UPREZ_ERR_MODEL, "%s: LibTorch %s cannot %s it: %s", name.c_str(), UPZ_TORCH_TEXT, doing,
         words(text).c_str());
}

// f(), its failures put into words.
template <class F> void explained(UpzTorchNet *net, const char *doing, F f)
{
    try {
        f();
        return;
    } catch (const Fail &) {
        throw;
    } catch (const std::bad_alloc &) {
        throw;
    } catch (...) {
        explain(net->name, current_words(), doing);
    }
}

void check_signature(const UpzTorchNet *net)
{
    const auto method = net->module.find_method("forward");
    if (!method)
        fail(UPREZ_ERR_MODEL, "%s has no method 'forward', so it is no network",
             net->name.c_str());
    const auto &arguments = method->function().getSchema().arguments();
    std::string list;
    size_t required = 0;
    for (size_t i = 1; i < arguments.size(); i++) {
        if (!arguments[i].default_value()) required++;
        list += (i > 1 ? ", " : "") + arguments[i].name() + ": " + arguments[i].type()->str();
    }
    const bool picture = arguments.size() > 1 && required <= 1 &&
                         c10::TensorType::get()->isSubtypeOf(*arguments[1].type());
    if (!picture)
        fail(UPREZ_ERR_MODEL, "%s: its forward takes (%s); a network for pictures takes one tensor "
             "N x C x H x W", net->name.c_str(), list.empty() ? "nothing" : list.c_str());
}

// A file that names engines of torch_tensorrt: its runtime knows that class once it is loaded.
void load_engines(UpzTorchNet *net, const UpzTorchOpen *how, torch::jit::ExtraFilesMap *extra)
{
    UprezError why = {};
    if (!how->need_trt || how->need_trt(how->cookie, &why) < 0)
        fail(UPREZ_ERR_DEVICE, "%s holds TensorRT engines of torch_tensorrt and needs its runtime "
             "(libtorchtrt_runtime.so) for LibTorch %s: %s", net->name.c_str(), UPZ_TORCH_TEXT,
             *why.text ? why.text : "there is none here");
    if (!net->device.is_cuda())
        fail(UPREZ_ERR_DEVICE, "%s holds TensorRT engines, which run on NVIDIA GPUs only; give -d "
             "cuda", net->name.c_str());
    try {
        net->module = torch::jit::load(how->path, net->device, *extra);
    } catch (...) {
        const std::string text = current_words();
        if (is_memory(text)) throw;
        if (names_trt(text))
            fail(UPREZ_ERR_DEVICE, "%s holds TensorRT engines, and the torch_tensorrt here does not "
                 "know them; install the torch_tensorrt made for LibTorch %s: %s",
                 net->name.c_str(), UPZ_TORCH_TEXT, words(text).c_str());
        fail(UPREZ_ERR_DEVICE, "%s: its TensorRT engines do not fit this GPU, TensorRT or "
             "torch_tensorrt; make them again here: %s", net->name.c_str(), words(text).c_str());
    }
}

void load_script(UpzTorchNet *net, const UpzTorchOpen *how)
{
    explained(net, "read", [&] {
        const std::string path = how->path;
        torch::jit::ExtraFilesMap extra = {{"uprez", ""}};
        try {
            net->module = torch::jit::load(path, net->device, extra);
        } catch (...) {
            if (!names_trt(current_words())) throw;
            net->engines = true;
        }
        if (net->engines) load_engines(net, how, &extra);
        net->module.eval();
        net->studio = extra["uprez"] == STUDIO;
    });
    check_signature(net);
}

// Parameters, and what freezing made constants of the program.
void count(const Module &module, UpzTorchFacts *facts)
{
    facts->half = true;
    const auto take = [&](const at::Tensor &t) {
        if (!t.is_floating_point()) return;
        facts->parameters += t.numel();
        if (t.element_size() != 2) facts->half = false;
    };
    for (const at::Tensor &t : module.parameters()) take(t);
    for (const torch::jit::Node *n : module.get_method("forward").graph()->nodes()) {
        if (n->kind() != c10::prim::Constant) continue;
        const auto value = torch::jit::toIValue(n->output());
        if (value && value->isTensor() && value->toTensor().defined()) take(value->toTensor());
    }
    if (!facts->parameters) facts->half = false;
}

void set_type(UpzTorchNet *net, const char *precision, bool script, bool half)
{
    const bool automatic = !strcmp(precision, "auto"), cpu = net->device.is_cpu();
    // a processor computes fp16 no faster; a script on a device keeps what it was saved in
    at::ScalarType type = at::kFloat;
    if (!automatic) type = type_of(precision);
    else if (!cpu && (!script || half)) type = at::kHalf;
    net->type = type;
    net->types = {type};
    for (at::ScalarType t : {at::kFloat, at::kHalf, at::kBFloat16})
        if (script && t != type) net->types.push_back(t);
    if (!net->engines) net->module.to(net->device, type);
    if (net->engines) return;
    at::NoGradGuard no_grad;
    for (at::Tensor t : net->module.parameters())
        if (t.dim() == 4) t.set_data(t.contiguous(at::MemoryFormat::ChannelsLast));
}

// One small run: what type does the input have, and is the precision there on this device?
void try_out(UpzTorchNet *net, const UpzTorchOpen *how)
{
    Scope scope(net);
    const int align = std::max(how->align, 1), side = (63 + align) / align * align;
    for (int c : {how->channels ? how->channels : 3, 1}) {
        const int64_t in[4] = {1, c, side, side};
        try {
            net->trial(in);
            break;
        } catch (...) {
            const std::string text = current_words();
            if (net->ours || is_lacking(text))
                fail(UPREZ_ERR_DEVICE, "LibTorch %s does not compute %s in %s here: %s",
                     UPZ_TORCH_TEXT, net->name.c_str(), type_name(net->type), words(text).c_str());
            // any other size may do: shape() and prepare() will say
            if (how->channels) break;
        }
    }
    if (strcmp(how->precision, "auto") && net->type != type_of(how->precision))
        fail(UPREZ_ERR_DEVICE, "%s computes in %s only, not in %s", net->name.c_str(),
             type_name(net->type), how->precision);
}

int open_net(UpzTorchNet **out, const UpzTorchOpen *how, UpzTorchFacts *facts, UprezError *err)
{
    *out = nullptr;
    std::unique_ptr<UpzTorchNet> net;
    const int r = guarded(err, UPREZ_ERR_DEVICE, "LibTorch " UPZ_TORCH_TEXT, [&] {
        net.reset(new UpzTorchNet);
        net->name = how->path ? how->path : "the network";
        net->ours = !how->path;
        net->threads = std::max(how->threads, 1);
        Quiet quiet(&net->silent);
        net->begin();
        // LibTorch looks for CUDA once a process: also a network on the processor has to wait
        if (how->cuda_here && !beside("libtorch_cuda.so").empty())
            open_beside("libtorch_cuda.so", "CUDA");
        net->device = need_device(how->device, how->index);
        net->caller_stream = how->stream;
        if (net->device.is_cuda()) net->cuda = cuda_part();
        if (net->ours) {
            net->module = Module("Network");
            explained(net.get(), "build", [&] { define(&net->module, *how->script); });
        } else {
            load_script(net.get(), how);
        }
        *facts = UpzTorchFacts();
        count(net->module, facts);
        explained(net.get(), "move",
                  [&] { set_type(net.get(), how->precision, !net->ours, facts->half); });
        // fp32 on the processor is there in every LibTorch
        if (!net->ours || net->type != at::kFloat) try_out(net.get(), how);
        net->half_io = !net->device.is_cpu() && net->type == at::kHalf;
        snprintf(facts->precision, sizeof(facts->precision), "%s", type_name(net->type));
        facts->half_io = net->half_io;
        facts->slots = net->device.is_cpu() || how->stream ? 1 : 2;
        facts->studio = net->studio;
        facts->device_memory = !net->device.is_cpu();
        *out = net.release();
    });
    return r;
}

int net_shape(UpzTorchNet *net, UpzTorchShape *shape, UprezError *err)
{
    return guarded(err, UPREZ_ERR_MODEL, net->name, [&] {
        Scope scope(net);
        net->drop_slots();
        explained(net, "run", [&] {
            const at::Tensor out = net->trial(shape->in);
            for (int i = 0; i < 4; i++) shape->out[i] = out.size(i);
        });
    });
}

// ---- running ----

void check_output(const UpzTorchNet *net, const at::Tensor &got, const at::Tensor &want)
{
    if (got.sizes() == want.sizes()) return;
    fail(UPREZ_ERR_MODEL, "%s: %dx%d came out where %dx%d was expected; its output does not follow "
         "the input's size", net->name.c_str(), static_cast<int>(got.size(3)),
         static_cast<int>(got.size(2)), static_cast<int>(want.size(3)),
         static_cast<int>(want.size(2)));
}

// On a device: dev_in to dev_out.
void forward(UpzTorchNet *net, Slot *s)
{
    const at::Tensor out = net->call(net->arrange(s->dev_in));
    check_output(net, out, s->dev_out);
    s->dev_out.copy_(out);
}

struct Body {
    UpzTorchNet *net;
    Slot *slot;
};

void forward_body(void *arg)
{
    const Body *b = static_cast<Body *>(arg);
    forward(b->net, b->slot);
}

void start_device(UpzTorchNet *net, Slot *s)
{
    const c10::impl::VirtualGuardImpl impl(net->device.type());
    // a foreign CUDA stream is named by its address (c10/cuda/CUDAStream.h, getStreamFromExternal)
    s->stream = net->caller_stream
                    ? c10::Stream(c10::Stream::UNSAFE, net->device,
                                  reinterpret_cast<c10::StreamId>(net->caller_stream))
                    : impl.getStreamFromGlobalPool(net->device);
    const c10::StreamGuard on(*s->stream);
    const auto there = at::TensorOptions().device(net->device).dtype(s->in.scalar_type());
    s->dev_in = at::zeros(s->in.sizes(), there);
    s->dev_out = at::empty(s->out.sizes(), there);
    if (!net->cuda || net->caller_stream) return;
    for (int i = 0; i < 3; i++) forward(net, s); // libraries choose and allocate before recording
    impl.synchronizeStream(*s->stream);
    Body body = {net, s};
    s->graph = net->cuda->record(forward_body, &body);
}

int prepare(UpzTorchNet *net, const UpzTorchShape *shape, int slots, UpzTorchBuffers *buffers,
            UprezError *err)
{
    const int r = guarded(err, UPREZ_ERR_DEVICE, net->name, [&] {
        Scope scope(net);
        net->drop_slots();
        if (!net->settled && !net->ours)
            explained(net, "run", [&] { net->trial(shape->in); });
        const int64_t *in = shape->in, *out = shape->out;
        auto host = at::TensorOptions().dtype(net->half_io ? at::kHalf : at::kFloat);
        if (!net->device.is_cpu()) host = host.pinned_memory(true);
        net->slots.resize(static_cast<size_t>(slots));
        for (int i = 0; i < slots; i++) {
            Slot &s = net->slots[static_cast<size_t>(i)];
            s.in = at::empty({in[0], in[1], in[2], in[3]}, host);
            s.out = at::empty({out[0], out[1], out[2], out[3]}, host);
            if (!net->device.is_cpu()) start_device(net, &s);
            buffers[i].in = s.in.data_ptr();
            buffers[i].out = s.out.data_ptr();
        }
    });
    if (r < 0) net->drop_slots();
    return r;
}

void run_device(UpzTorchNet *net, Slot *s)
{
    const c10::impl::VirtualGuardImpl impl(net->device.type());
    const c10::StreamGuard on(*s->stream);
    s->dev_in.copy_(s->in, true);
    if (!s->graph || net->cuda->replay(s->graph)) forward(net, s);
    s->out.copy_(s->dev_out, true);
    impl.synchronizeStream(*s->stream);
}

int run(UpzTorchNet *net, int slot, UprezError *err)
{
    return guarded(err, UPREZ_ERR_DEVICE, net->name, [&] {
        const Scope scope(net);
        const Flush flush;
        Slot &s = net->slots.at(static_cast<size_t>(slot));
        explained(net, "run", [&] {
            if (!net->device.is_cpu()) {
                run_device(net, &s);
                return;
            }
            const at::Tensor out = net->call(net->arrange(s.in));
            check_output(net, out, s.out);
            s.out.copy_(out);
        });
    });
}

void close_net(UpzTorchNet **net)
{
    UprezError ignored;
    guarded(&ignored, UPREZ_ERR_DEVICE, "", [&] { delete *net; });
    *net = nullptr;
}

// ---- writing ----

int save(const UpzTorchSave *how, UprezError *err)
{
    return guarded(err, UPREZ_ERR_MODEL, "LibTorch " UPZ_TORCH_TEXT " cannot write this network", [&] {
        Silent silent;
        Quiet quiet(&silent);
        Module module("Network");
        define(&module, *how->script);
        if (how->half) module.to(at::kHalf);
        module.eval();
        std::ostringstream bytes;
        torch::jit::ExtraFilesMap extra;
        if (how->studio) extra["uprez"] = STUDIO;
        module.save(bytes, extra);
        const std::string all = bytes.str();
        const int r = how->sink(how->cookie, all.data(), all.size());
        if (r < 0) throw Fail{r, ""};
    });
}

const UpzTorchModule table = {
    UPZ_TORCH_ABI, sizeof(UpzTorchOpen), sizeof(UpzTorchFacts), sizeof(UpzTorchSave), UPZ_TORCH_TEXT,
    open_net, net_shape, prepare, run, close_net, save,
};

} // namespace

extern "C" __attribute__((visibility("default"))) const UpzTorchModule *
upz_engine_module(unsigned abi)
{
    return abi == UPZ_TORCH_ABI ? &table : nullptr;
}

#endif
