#include "nn/device.h"

#include <ATen/Context.h>
#include <dlfcn.h>
#include <torch/cuda.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "nn/allocator_setting.h"

namespace millrace {
namespace {

// The libraries beside libtorch_cpu.so in a wheel for NVIDIA's or AMD's GPUs. Both call their devices "cuda".
struct GpuLibrary {
  const char* name;
  std::string (*why_no_driver)();            // a cheap check before the big library is loaded; "": there is a driver
  const char *get_device, *get_device_name;  // of the driver's library; the arguments are the same for both makers
  // The variable that asks for blocks of memory that grow. null: not every GPU has them.
  const char* allocator_setting;
};

std::string why_no_nvidia_driver() {
  return dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) != nullptr ? ""
                                                                   : "no NVIDIA driver (libcuda.so.1) is installed";
}

std::string why_no_amd_driver() {
  constexpr const char* kDevice = "/dev/kfd";
  if (!std::filesystem::exists(kDevice)) return "no AMD driver (/dev/kfd) is installed";
  if (access(kDevice, R_OK | W_OK) == 0) return "";
  return "/dev/kfd cannot be opened (join the groups render and video)";
}

constexpr GpuLibrary kGpuLibraries[] = {
    {"libtorch_hip.so", why_no_amd_driver, "hipDeviceGet", "hipDeviceGetName", nullptr},
    {"libtorch_cuda.so", why_no_nvidia_driver, "cuDeviceGet", "cuDeviceGetName", "PYTORCH_CUDA_ALLOC_CONF"},
};

struct LoadedGpu {
  const GpuLibrary* library = nullptr;
  std::string error;  // "" or why there is none
};

// Loads the GPU half of libtorch.
LoadedGpu load_gpu() {
  constexpr std::string_view kKernels = MILLRACE_GPU_KIND;
  if (kKernels == "none") return {.error = "this build has no GPU kernels"};
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&at::globalContext), &info) == 0 || info.dli_fname == nullptr) {
    return {.error = "the libtorch_cpu library cannot be located"};
  }
  const std::filesystem::path folder = std::filesystem::path(info.dli_fname).parent_path();
  for (const GpuLibrary& library : kGpuLibraries) {
    const std::filesystem::path path = folder / library.name;
    if (!std::filesystem::exists(path)) continue;
    const std::string no_driver = library.why_no_driver();
    if (!no_driver.empty()) return {.error = no_driver};
    if (library.allocator_setting != nullptr) prefer_growing_memory(library.allocator_setting);
    if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) return {.error = dlerror()};
    if (torch::cuda::device_count() == 0) return {.error = "the driver shows no GPU"};
    return {.library = &library, .error = ""};
  }
  return {.error = "neither libtorch_cuda.so nor libtorch_hip.so is in " + folder.string() +
                   ": this libtorch is for CPUs only"};
}

// fp32 is fp32, in convolutions too (libtorch lets cuDNN take TF32 there), and bf16 products sum in fp32 to the end.
void set_gpu_arithmetic() {
  at::Context& context = at::globalContext();
  context.setAllowTF32CuDNN(false);
  context.setAllowTF32CuBLAS(false);
  context.setAllowBF16ReductionCuBLAS(false);
}

const LoadedGpu& loaded_gpu() {
  static const LoadedGpu gpu = [] {
    LoadedGpu loaded = load_gpu();
    set_gpu_arithmetic();
    return loaded;
  }();
  return gpu;
}

}  // namespace

torch::Device resolve_device(std::string_view text) {
  if (text == "cpu") return torch::kCPU;
  if (text == "auto") return loaded_gpu().error.empty() ? torch::Device(torch::kCUDA, 0) : torch::Device(torch::kCPU);
  const bool numbered = starts_with(text, "cuda:") && text.size() > 5 && text.size() < 9 &&
                        text.find_first_not_of("0123456789", 5) == std::string_view::npos;
  if (text != "cuda" && !numbered) {
    throw ConfigError("[device] expected auto, cpu, cuda or cuda:N, got " + std::string(text));
  }
  if (!loaded_gpu().error.empty()) {
    throw ConfigError("[device] expected a usable GPU, got none: " + loaded_gpu().error + " (try cpu)");
  }
  const int index = numbered ? std::stoi(std::string(text.substr(5))) : 0;
  const int count = gpu_count();
  if (index >= count) {
    throw ConfigError("[device] expected a GPU below " + std::to_string(count) + ", got " + std::string(text));
  }
  return torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(index));
}

int gpu_count() {
  return loaded_gpu().error.empty() ? static_cast<int>(torch::cuda::device_count()) : 0;
}

std::string device_name(torch::Device device) {
  if (!device.is_cuda()) return "";
  const GpuLibrary* library = loaded_gpu().library;
  if (library == nullptr) return "";
  // Queries the driver, which resolve_device() has loaded: no CUDA or HIP library is linked here.
  const auto get_name = reinterpret_cast<int (*)(char*, int, int)>(dlsym(RTLD_DEFAULT, library->get_device_name));
  const auto get_device = reinterpret_cast<int (*)(int*, int)>(dlsym(RTLD_DEFAULT, library->get_device));
  const int index = device.has_index() ? device.index() : 0;
  int handle = 0;
  char name[256] = {};
  if (get_name == nullptr || get_device == nullptr || get_device(&handle, index) != 0) return "";
  return get_name(name, sizeof name, handle) == 0 ? name : "";
}

}  // namespace millrace
