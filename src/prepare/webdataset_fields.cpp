#include "prepare/webdataset_fields.h"

#include <algorithm>
#include <array>
#include <span>

#include "base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kTexts[] = {"txt", "text", "transcript"};
constexpr std::string_view kIntegers[] = {"cls", "cls2", "index", "inx", "id"};
constexpr std::string_view kJson[] = {"json", "jsn"};
// Formats that PIL opens, as listed by `datasets`.
constexpr std::string_view kImages[] = {
    "blp", "bmp",  "dib", "bufr", "cur", "pcx",  "dcx",  "dds", "ps",   "eps",  "fit", "fits", "fli",
    "flc", "ftc",  "ftu", "gbr",  "gif", "grib", "h5",   "hdf", "png",  "apng", "jp2", "j2k",  "jpc",
    "jpf", "jpx",  "j2c", "icns", "ico", "im",   "iim",  "tif", "tiff", "jfif", "jpe", "jpg",  "jpeg",
    "mpg", "mpeg", "msp", "pcd",  "pxr", "pbm",  "pgm",  "ppm", "pnm",  "psd",  "bw",  "rgb",  "rgba",
    "sgi", "ras",  "tga", "icb",  "vda", "vst",  "webp", "wmf", "emf",  "xbm",  "xpm"};
// Arrays, audio, video, meshes and compressed files have special types.
constexpr std::string_view kUnsupported[] = {
    "ten",  "tb",    "mp",  "msg",  "npy",  "npz",   "cbor",  "pth", "aiff", "au",  "avr",  "caf",
    "flac", "htk",   "svx", "mat4", "mat5", "mpc2k", "ogg",   "paf", "pvf",  "raw", "rf64", "sd2",
    "sds",  "ircam", "voc", "w64",  "wav",  "nist",  "wavex", "wve", "xi",   "mp3", "opus", "mkv",
    "mp4",  "avi",   "mov", "glb",  "ply",  "stl",   "gz",    "bz2", "xz",   "zst", "lz4"};

bool contains(std::span<const std::string_view> list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

}  // namespace

FieldKind field_kind(std::string_view field) {
  const size_t dot = field.rfind('.');
  const std::string extension = to_lower(dot == std::string_view::npos ? field : field.substr(dot + 1));
  if (contains(kImages, extension)) return FieldKind::kImage;
  if (contains(kTexts, extension)) return FieldKind::kText;
  if (contains(kIntegers, extension)) return FieldKind::kInteger;
  if (contains(kJson, extension)) return FieldKind::kJson;
  return contains(kUnsupported, extension) ? FieldKind::kUnsupported : FieldKind::kBytes;
}

bool is_sample_name(std::string_view file) {
  return !file.starts_with(".") && !file.starts_with("__");
}

}  // namespace millrace
