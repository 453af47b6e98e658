#include "images/strict_check.h"

#include <cstdio>
// After <cstdio>, which it needs.
#include <jpeglib.h>

#include <algorithm>
#include <csetjmp>
#include <memory>
#include <vector>

#include "base/error.h"
#include "images/decode.h"
#include "images/orientation.h"
#include "images/picture_info.h"

namespace millrace {
namespace {

constexpr int kMaxScans = 500;  // a progressive picture with thousands of scans is an attack on the clock

// State for libjpeg's callbacks and longjmp; no member has a destructor that a jump could skip.
struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void on_error(j_common_ptr codec) {
  auto* manager = reinterpret_cast<ErrorManager*>(codec->err);
  codec->err->format_message(codec, manager->message);
  std::longjmp(manager->jump, 1);
}
void on_message(j_common_ptr, int) {}  // warnings

// The source holds the whole file: if libjpeg wants more, the picture is truncated. PIL's source does the same.
void start(j_decompress_ptr) {}
boolean no_more(j_decompress_ptr) {
  return FALSE;
}
void skip(j_decompress_ptr codec, long count) {
  jpeg_source_mgr& source = *codec->src;
  const size_t step = count < 0 ? 0 : std::min(static_cast<size_t>(count), source.bytes_in_buffer);
  source.next_input_byte += step;
  source.bytes_in_buffer -= step;
}
void finish(j_decompress_ptr) {}

void on_progress(j_common_ptr codec) {
  if (codec->is_decompressor && reinterpret_cast<j_decompress_ptr>(codec)->input_scan_number > kMaxScans)
    codec->err->error_exit(codec);
}

// Empty, or the problem. row: space for one row of the picture.
const char* decode_all(jpeg_decompress_struct& codec, ErrorManager& errors, std::vector<JSAMPLE>& row) {
  static constexpr const char* kCut = "a JPEG cut short";
  if (setjmp(errors.jump)) return errors.message[0] ? errors.message : "damage";
  if (jpeg_read_header(&codec, TRUE) == JPEG_SUSPENDED) return kCut;
  if (!jpeg_start_decompress(&codec)) return kCut;
  row.resize(size_t{codec.output_width} * static_cast<size_t>(codec.output_components));
  JSAMPROW rows[] = {row.data()};
  while (codec.output_scanline < codec.output_height) {
    if (jpeg_read_scanlines(&codec, rows, 1) != 1) return kCut;
  }
  jpeg_finish_decompress(&codec);  // PIL ignores a missing end mark once all rows are decoded
  return "";
}

std::string find_jpeg_problem(std::span<const std::byte> file) {
  jpeg_decompress_struct codec = {};
  ErrorManager errors = {};
  codec.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = on_error;
  errors.base.emit_message = on_message;
  jpeg_create_decompress(&codec);
  jpeg_source_mgr source = {};
  source.next_input_byte = reinterpret_cast<const JOCTET*>(file.data());
  source.bytes_in_buffer = file.size();
  source.init_source = start;
  source.fill_input_buffer = no_more;
  source.skip_input_data = skip;
  source.resync_to_restart = jpeg_resync_to_restart;
  source.term_source = finish;
  codec.src = &source;
  jpeg_progress_mgr progress = {};
  progress.progress_monitor = on_progress;
  codec.progress = &progress;
  std::vector<JSAMPLE> row;
  const std::string problem = decode_all(codec, errors, row);
  jpeg_destroy_decompress(&codec);
  return problem;
}

// Without the name in brackets.
std::string bare_message(const Error& error) {
  const std::string message = error.what();
  const size_t end = message.find("] ");
  return end == std::string::npos ? message : message.substr(end + 2);
}

}  // namespace

std::string find_picture_problem(std::span<const std::byte> file, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  try {
    const ImageInfo info = *probe_image(file, name);
    DecodeOptions strict;
    strict.max_pixels = kMaxDefaultPixels;
    strict.allow_truncated = false;
    check_pixel_count(info, name, strict);
    std::string problem = read_picture_info(text, /*checks_pixels=*/true).problem;
    if (!problem.empty()) return problem;
    if (info.format == ImageFormat::kJpeg) {
      problem = find_jpeg_problem(file);
      if (!problem.empty()) return "expected a whole JPEG, got: " + problem;
    } else if (info.format == ImageFormat::kWebp) {
      DecodedImage unused;
      decode_image_into(file, name, strict, unused);
    }
  } catch (const DataError& error) {
    return bare_message(error);
  }
  std::string problem;
  read_orientation(file, &problem);
  return problem;
}

}  // namespace millrace
