// Recognising pickles, to refuse them: a pickle is a program, and reading it runs it.
#pragma once

#include <filesystem>
#include <string_view>

namespace millrace {

bool has_pickle_extension(const std::filesystem::path& path);  // .pt .pth .ckpt .bin .pkl .pickle
// Begins like torch.save's zip archive or like a pickle stream (protocol 2 and later, or torch's legacy format).
bool has_pickle_content(std::string_view first_bytes);

// Throws ModelError that says how to convert it when path is a pickle by name or by content.
void refuse_pickle(const std::filesystem::path& path);

}  // namespace millrace
