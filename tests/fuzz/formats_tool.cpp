// What formats/ does with files, for the Python tests.
//
//   millrace_formats_tool check-safetensors          paths on standard input; a line each: "ok" or what is wrong
//   millrace_formats_tool copy-safetensors IN OUT    reads and writes
//   millrace_formats_tool copy-npy IN OUT
//   millrace_formats_tool list-tar FILE              name, size and checksum of each member
//   millrace_formats_tool write-tar OUT FILE...      the files as members
//   millrace_formats_tool write-events FOLDER PNG    one of each kind, and a second session
//   millrace_formats_tool read-python-json           documents on standard input, each with its length (4 bytes,
//                                                    little-endian) before it; a line for each, see test_json.py
#include <bit>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "formats/npy.h"
#include "formats/read_python_json.h"
#include "formats/safetensors.h"
#include "formats/tar.h"
#include "formats/tensorboard.h"

namespace millrace {
namespace {

using Args = std::vector<std::string>;

void check_safetensors(const Args&) {
  std::string path;
  while (std::getline(std::cin, path)) {
    try {
      const SafetensorsFile file(path);
      std::cout << "ok\n";
    } catch (const Error& error) {
      std::cout << error.what() << "\n";
    }
  }
}

void copy_safetensors(const Args& args) {
  const SafetensorsFile file(args.at(0));
  write_safetensors(args.at(1), file.tensors(), file.metadata());
}

void copy_npy(const Args& args) {
  const NpyFile file(args.at(0));
  write_npy(args.at(1), file.array().dtype, file.array().shape, file.array().bytes);
}

void list_tar(const Args& args) {
  TarReader reader(args.at(0));
  std::string content;
  while (const auto entry = reader.next()) {
    reader.read(content);
    std::cout << entry->name << "\t" << entry->size << "\t" << checksum64(content.data(), content.size()) << "\n";
  }
}

void write_tar(const Args& args) {
  TarWriter writer(args.at(0));
  for (size_t i = 1; i < args.size(); ++i) writer.add(std::filesystem::path(args[i]).filename(), read_file(args[i]));
  writer.close();
}

void write_events(const Args& args) {
  const std::string png = read_file(args.at(1));
  EventWriter first(args.at(0));
  for (int step = 1; step <= 10; ++step) first.add_scalar("train/loss", 1.0 / step, step);
  first.add_scalar("train/grad norm \xC3\xA9", -2.5, 5);
  first.add_image("samples", png, 5);
  first.add_text("config", "[training]\nsteps = 10", 0);
  first.close();
  EventWriter second(args.at(0));  // resumed at step 8: steps 8 to 10 are written again
  second.start_session(8);
  for (int step = 8; step <= 12; ++step) second.add_scalar("train/loss", 100.0 + step, step);
  second.close();
}

void print_json(const nlohmann::ordered_json& value) {
  const auto print_hex = [](const std::string& text) {
    for (const char c : text) std::printf("%02x", static_cast<unsigned char>(c));
  };
  const char* separator = "";
  if (value.is_object()) {
    std::printf("{");
    for (const auto& [key, item] : value.items()) {
      std::printf("%ss", std::exchange(separator, ","));
      print_hex(key);
      std::printf(":");
      print_json(item);
    }
    std::printf("}");
  } else if (value.is_array()) {
    std::printf("[");
    for (const auto& item : value) {
      std::printf("%s", std::exchange(separator, ","));
      print_json(item);
    }
    std::printf("]");
  } else if (value.is_string()) {
    std::printf("s");
    print_hex(value.get<std::string>());
  } else if (value.is_binary()) {
    const auto& digits = value.get_binary();
    std::printf("i%s", std::string(digits.begin(), digits.end()).c_str());
  } else if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::isnan(number)) {
      std::printf("nan");
    } else {
      std::printf("d%016llx", std::bit_cast<unsigned long long>(number));
    }
  } else {
    std::printf("%s%s", value.is_number() ? "i" : "", value.dump().c_str());
  }
}

void read_python_json(const Args&) {
  uint32_t length = 0;
  while (std::cin.read(reinterpret_cast<char*>(&length), sizeof length)) {
    std::string text(length, '\0');
    std::cin.read(text.data(), length);
    try {
      print_json(parse_python_json(text, "document"));
    } catch (const Error&) {
      std::printf("refused");
    }
    std::printf("\n");
  }
}

int run(const Args& args) {
  static const std::map<std::string, std::function<void(const Args&)>> kCommands = {
      {"check-safetensors", check_safetensors},
      {"copy-safetensors", copy_safetensors},
      {"copy-npy", copy_npy},
      {"list-tar", list_tar},
      {"write-tar", write_tar},
      {"write-events", write_events},
      {"read-python-json", read_python_json}};
  kCommands.at(args.at(0))({args.begin() + 1, args.end()});
  return 0;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  try {
    return millrace::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
