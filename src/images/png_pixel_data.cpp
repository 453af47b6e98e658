// Finds the picture data of a PNG, and checks whether Pillow's decoder (its ZipDecode) would accept it.
#include <algorithm>

#include "images/png_chunks.h"

namespace millrace {
namespace {

// Adam7 (ISO/IEC 15948, section 8.2).
struct Pass {
  uint32_t first_row, row_step, first_column, column_step;
};
constexpr Pass kAdam7[] = {{0, 8, 0, 8}, {0, 8, 4, 8}, {4, 8, 0, 4}, {0, 4, 2, 4},
                           {2, 4, 0, 2}, {0, 2, 1, 2}, {1, 2, 0, 1}};
constexpr Pass kOnePass[] = {{0, 1, 0, 1}};

uint32_t count(uint32_t size, uint32_t first, uint32_t step) {
  return size > first ? (size - first + step - 1) / step : 0;
}

// zlib over several pieces of input.
class Inflater {
 public:
  explicit Inflater(const std::vector<std::string_view>& pieces) : pieces_(pieces) {
    is_open_ = inflateInit(&stream_) == Z_OK;
  }
  ~Inflater() {
    if (is_open_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  enum class Outcome { kDone, kDoneAndEnded, kOutOfData, kDamaged };
  // Reads a row of that many bytes and keeps only the first, its filter.
  Outcome read_row(uint64_t bytes, Bytef& filter) {
    Outcome outcome = fill(&filter, 1);
    for (uint64_t left = bytes - 1; left > 0;) {
      if (outcome != Outcome::kDone) return outcome == Outcome::kDoneAndEnded ? Outcome::kOutOfData : outcome;
      const auto step = static_cast<uInt>(std::min<uint64_t>(left, sizeof buffer_));
      outcome = fill(buffer_, step);
      left -= step;
    }
    return outcome;
  }

  size_t pieces_used() const { return next_; }

 private:
  Outcome fill(Bytef* out, uInt bytes) {
    stream_.next_out = out;
    stream_.avail_out = bytes;
    while (true) {
      while (stream_.avail_in == 0) {
        if (next_ == pieces_.size()) return Outcome::kOutOfData;
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(pieces_[next_].data()));
        stream_.avail_in = static_cast<uInt>(pieces_[next_].size());
        ++next_;
      }
      if (!is_open_) return Outcome::kDamaged;
      const int status = inflate(&stream_, Z_NO_FLUSH);
      if (status < 0 || status == Z_NEED_DICT) return Outcome::kDamaged;
      if (stream_.avail_out == 0) return status == Z_STREAM_END ? Outcome::kDoneAndEnded : Outcome::kDone;
      if (status == Z_STREAM_END) return Outcome::kOutOfData;
    }
  }

  const std::vector<std::string_view>& pieces_;
  size_t next_ = 0;
  z_stream stream_ = {};
  bool is_open_ = false;
  Bytef buffer_[1 << 14];
};

}  // namespace

int PngPixelData::bits_per_pixel() const {
  const int depth = header[8];
  const bool is_8_or_16 = depth == 8 || depth == 16;
  switch (header[9]) {
    case 0:
      return is_8_or_16 || depth == 1 || depth == 2 || depth == 4 ? depth : 0;
    case 2:
      return is_8_or_16 ? 3 * depth : 0;
    case 3:
      return depth == 1 || depth == 2 || depth == 4 || depth == 8 ? depth : 0;
    case 4:
      return is_8_or_16 ? 2 * depth : 0;
    case 6:
      return is_8_or_16 ? 4 * depth : 0;
    default:
      return 0;
  }
}

PngPixelData find_png_pixel_data(std::string_view file, const char*& problem) {
  PngPixelData found;
  const auto fail = [&](const char* text) {
    problem = text;
    return found;
  };
  // Up to the picture data: the required chunks must be sound.
  size_t at = kPngSignatureBytes;
  PngChunk chunk = {};
  bool has_frame = false;
  while (true) {
    if (!read_png_chunk(file, at, chunk)) return fail("no picture data");
    if (chunk.type == "IDAT" || chunk.type == "fdAT") break;
    if (chunk.type == "IEND") return fail("no picture data");
    if (!chunk.is_whole(file)) return fail("a chunk cut short before the picture data");
    const bool is_needed = chunk.type == "IHDR" || chunk.type == "PLTE";
    if (is_needed && !chunk.has_right_checksum(file)) return fail("a header or palette with a wrong checksum");
    const std::string_view data = chunk.data(file);
    if (chunk.type == "IHDR" && data.size() >= 13) found.header = data.substr(0, 13);
    if (chunk.type == "PLTE") found.palette = data;
    if (chunk.type == "fcTL" && data.size() >= 26) {
      found.frame = read_png_frame(data);
      has_frame = true;
    }
    at = chunk.end();
  }
  if (found.header.empty()) return fail("no header");
  if (found.bits_per_pixel() == 0) return fail("an unknown kind of pixels");
  if (!has_frame) found.frame = {0, 0, found.width(), found.height()};
  const PngFrame& frame = found.frame;
  const bool is_inside = uint64_t{frame.x} + frame.width <= found.width() &&
                         uint64_t{frame.y} + frame.height <= found.height() && frame.width > 0 && frame.height > 0;
  if (!is_inside) return fail("a frame that is not in the picture");

  while (chunk.type == "IDAT" || chunk.type == "DDAT" || chunk.type == "fdAT") {
    std::string_view data = chunk.data(file);
    if (chunk.type == "fdAT") data.remove_prefix(std::min<size_t>(data.size(), 4));  // the frame's number
    found.pieces.push_back(data);
    found.is_cut = !chunk.is_whole(file) || !read_png_chunk(file, chunk.end(), chunk);
    if (found.is_cut) break;
  }
  return found;
}

const char* find_png_pixel_problem(const PngPixelData& data, size_t& pieces_used) {
  static constexpr const char* kCut = "one cut short";
  Inflater inflater(data.pieces);
  const auto bits = static_cast<uint64_t>(data.bits_per_pixel());
  Bytef filter = 0;
  // A row of another pass directly follows the previous one.
  const auto read_pass = [&](const Pass& pass) -> const char* {
    const uint64_t columns = count(data.frame.width, pass.first_column, pass.column_step);
    if (columns == 0) return nullptr;
    const uint64_t row_bytes = 1 + (columns * bits + 7) / 8;
    for (uint32_t left = count(data.frame.height, pass.first_row, pass.row_step); left > 0; --left) {
      const Inflater::Outcome outcome = inflater.read_row(row_bytes, filter);
      if (outcome == Inflater::Outcome::kOutOfData) return kCut;
      if (outcome == Inflater::Outcome::kDamaged) return "damaged picture data";
      if (filter > 4) return "a row with an unknown filter";
      if (outcome == Inflater::Outcome::kDoneAndEnded) return "";  // Pillow asks for no more rows
    }
    return nullptr;
  };
  const auto read_passes = [&](auto& passes) -> const char* {
    for (const Pass& pass : passes) {
      if (const char* stop = read_pass(pass)) return *stop ? stop : nullptr;
    }
    return nullptr;
  };
  const char* problem = data.is_interlaced() ? read_passes(kAdam7) : read_passes(kOnePass);
  pieces_used = inflater.pieces_used();
  return problem;
}

}  // namespace millrace
