// Keeps the tokens of a data set's rows in a file (token_file.h), for the ranks of a run and for later starts.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "language/token_batches.h"
#include "language/token_file.h"

namespace millrace {

struct TokenCacheOptions {
  std::filesystem::path folder;  // made where it does not exist
  std::string name = "rows";     // what the file is called, with a checksum of its identity behind it
  bool is_only_one = false;      // a new file of this name replaces those of other rows
  // How long to wait for another process that writes the file and adds nothing to it, in seconds.
  double patience = 120;
};

// The tokens of all rows of source, as source.sample() gives them; of bad rows and of those without tokens there are
// none. The file is named after the rows' contents, the tokenizer and all options that the tokens depend on. It is made
// where it does not exist, or is damaged, by the threads of the pool; other processes wait meanwhile, and take over
// from one that dies.
//
// Null, with a warning, where the folder cannot be written to, has no room or no locks, and where another process
// makes no progress: the rows must then be tokenised as they come. Throws DataError where too many rows are bad.
std::shared_ptr<const TokenFile> open_token_cache(const TokenSource& source, const TokenCacheOptions& options,
                                                  ThreadPool& pool);

}  // namespace millrace
