// Decoding, resizing and the training transform, for tests that compare them with Pillow.
//
//   decode IN MIN_SHORT_SIDE OUT
//   resize IN WIDTH HEIGHT bicubic|bilinear|lanczos|box|area|nearest OUT
//   upright IN OUT                                    decodes and turns as the orientation says
//   problems IN...                                    for each what PIL would refuse it for, or "sound"
//   square IN SIZE exact|scaled SEED EPOCH ID OUT      writes the floats [3, SIZE, SIZE], prints the crop's offset
//
// OUT holds two int32 (width, height) and the RGB bytes, or for square the floats alone.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "images/orientation.h"
#include "images/strict_check.h"
#include "images/transform.h"

namespace millrace {
namespace {

std::string read(const char* path) {
  return read_file(path);
}
std::span<const std::byte> bytes_of(const std::string& content) {
  return std::as_bytes(std::span(content));
}

void write(const char* path, const Image& image) {
  FileWriter file(path);
  const int32_t size[2] = {image.width, image.height};
  file.write(size, sizeof size);
  file.write(image.pixels.data(), image.pixels.size());
  file.close();
}

int run(const std::vector<const char*>& args) {
  const std::string command = args.at(0);
  const std::string content = read(args.at(1));
  if (command == "problems") {
    for (size_t i = 1; i < args.size(); ++i) {
      const std::string problem = find_picture_problem(bytes_of(read(args[i])), args[i]);
      std::cout << (problem.empty() ? "sound" : problem) << "\n";
    }
  } else if (command == "upright") {
    write(args.at(2),
          turn_upright(decode_image(bytes_of(content), args.at(1)).image, read_orientation(bytes_of(content))));
  } else if (command == "decode") {
    DecodeOptions options;
    options.min_short_side = std::atoi(args.at(2));
    write(args.at(3), decode_image(bytes_of(content), args.at(1), options).image);
  } else if (command == "resize") {
    const Image image = decode_image(bytes_of(content), args.at(1)).image;
    const std::map<std::string, Filter> filters = {{"bicubic", Filter::kBicubic}, {"bilinear", Filter::kBilinear},
                                                   {"lanczos", Filter::kLanczos}, {"box", Filter::kBox},
                                                   {"area", Filter::kArea},       {"nearest", Filter::kNearest}};
    const Filter filter = filters.at(args.at(4));
    write(args.at(5), resize(image, std::atoi(args.at(2)), std::atoi(args.at(3)), filter));
  } else if (command == "square") {
    SquareTransform transform;
    transform.size = std::atoi(args.at(2));
    transform.exact_decode = std::string(args.at(3)) == "exact";
    const RandomStream stream =
        random_stream(std::strtoull(args.at(4), nullptr, 10), RandomPurpose::kAugmentation,
                      static_cast<uint32_t>(std::atoi(args.at(5))), std::strtoull(args.at(6), nullptr, 10));
    TransformScratch scratch;
    load_square(bytes_of(content), args.at(1), transform, stream, scratch);
    std::vector<float> planes(scratch.square.pixels.size());
    image_to_planes(scratch.square, planes.data());
    FileWriter file(args.at(7));
    file.write(planes.data(), planes.size() * sizeof(float));
    file.close();
    const CoverGeometry geometry =
        cover_geometry(scratch.decoded.source_width, scratch.decoded.source_height, transform.size);
    std::cout << crop_offset(geometry, transform.crop, stream) << "\n";
  } else {
    std::cerr << "unknown command " << command << "\n";
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  try {
    return millrace::run({argv + 1, argv + argc});
  } catch (const millrace::Error& error) {
    std::cerr << error.what() << "\n";
    return static_cast<int>(error.code());
  }
}
