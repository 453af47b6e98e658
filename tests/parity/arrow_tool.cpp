// Arrow files and data sets, for tests that compare them with pyarrow and `datasets`.
//
//   list PATH              the files of a data set, a line each
//   rows FILE              a JSON object: columns, damage, and the rows as lists of null, integers or hexadecimal bytes
//   write FOLDER < JSON    {"columns": [[name, type], ...], "files": [rows, ...]}; bytes as {"hex": "..."}; a saved
//   data set
#include <iostream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "data/hf_dataset.h"
#include "formats/arrow_file.h"
#include "formats/arrow_writer.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

std::string to_hex(std::span<const std::byte> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += kDigits[static_cast<unsigned>(byte) >> 4];
    text += kDigits[static_cast<unsigned>(byte) & 15];
  }
  return text;
}

std::string from_hex(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

Json cell(const ArrowFile& file, int column, int64_t row) {
  if (file.is_null(column, row)) return nullptr;
  const std::string& type = file.columns()[static_cast<size_t>(column)].type;
  if (type.find("int") == 0 || type.find("uint") == 0 || type == "bool") return *file.integer(column, row);
  const auto bytes = file.bytes(column, row);
  return bytes ? Json(to_hex(*bytes)) : Json("null bytes");
}

void print_rows(const std::string& path) {
  const ArrowFile file(path);
  Json columns = Json::array(), rows = Json::array();
  for (const ArrowColumn& column : file.columns()) columns.push_back({column.name, column.type});
  for (int64_t row = 0; row < file.num_rows(); ++row) {
    Json cells = Json::array();
    for (int column = 0; column < static_cast<int>(columns.size()); ++column) {
      try {
        cells.push_back(cell(file, column, row));
      } catch (const DataError& error) {
        cells.push_back({{"error", error.what()}});
      }
    }
    rows.push_back(std::move(cells));
  }
  std::cout << Json({{"columns", columns},
                     {"batches", file.num_batches()},
                     {"damage", file.damage()},
                     {"metadata", file.metadata("huggingface")},
                     {"rows", rows}})
            << "\n";
}

void write_data_set(const std::filesystem::path& folder) {
  static const std::map<std::string, ArrowType> kTypes = {
      {"string", ArrowType::kString}, {"binary", ArrowType::kBinary},  {"int32", ArrowType::kInt32},
      {"int64", ArrowType::kInt64},   {"double", ArrowType::kFloat64}, {"bool", ArrowType::kBool},
      {"image", ArrowType::kImage}};
  const Json input = Json::parse(std::string(std::istreambuf_iterator<char>(std::cin), {}));
  std::vector<ArrowColumnSpec> columns;
  for (const Json& column : input["columns"]) columns.push_back({column[0], kTypes.at(column[1])});
  create_folders(folder);
  std::vector<HfDataFile> files;
  const auto count = static_cast<int64_t>(input["files"].size());
  for (const Json& rows : input["files"]) {
    const std::string name = hf_data_file_name(static_cast<int64_t>(files.size()), count);
    ArrowStreamWriter writer(folder / name, columns);
    for (const Json& row : rows) {
      std::vector<std::string> bytes(row.size());
      std::vector<ArrowCell> cells;
      for (size_t i = 0; i < row.size(); ++i) {
        if (row[i].is_null()) {
          cells.emplace_back();
        } else if (row[i].is_string()) {
          cells.emplace_back(std::string_view(row[i].get_ref<const std::string&>()));
        } else if (row[i].is_object()) {
          bytes[i] = from_hex(row[i]["hex"]);
          cells.emplace_back(std::as_bytes(std::span(bytes[i])));
        } else if (row[i].is_number_float()) {
          cells.emplace_back(row[i].get<double>());
        } else {
          cells.emplace_back(row[i].get<int64_t>());
        }
      }
      writer.add_row(cells);
    }
    writer.close();
    files.push_back({name, writer.rows(), writer.bytes()});
  }
  finish_hf_dataset(folder, columns, files, input.value("split", ""));
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  try {
    const std::string command = argc == 3 ? argv[1] : "";
    if (command == "list") {
      for (const auto& path : millrace::list_hf_dataset(argv[2])) std::cout << path.string() << "\n";
    } else if (command == "rows") {
      millrace::print_rows(argv[2]);
    } else if (command == "write") {
      millrace::write_data_set(argv[2]);
    } else {
      std::cerr << "usage: list|rows|write PATH\n";
      return 2;
    }
    return 0;
  } catch (const millrace::Error& error) {
    std::cerr << error.what() << "\n";
    return static_cast<int>(error.code());
  }
}
