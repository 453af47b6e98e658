// The parts of tune_translate.h, by theme (internal to compat/). Each reads its keys of the root and sets options.
#pragma once

#include "base/error.h"
#include "compat/tune_components.h"
#include "compat/tune_translate.h"

namespace millrace {

struct TuneTranslator {
  const TuneRecipe& recipe;
  const TuneFile& file;
  const TuneSurroundings& around;
  Translation& out;
  TuneTable root;

  // The component of a table; nullptr after a refusal, which is noted.
  const TuneComponent* component(TuneTable& table, TuneRole role) const;

  void model();      // model, tokenizer
  void weights();    // checkpointer, saving, resuming
  void data();       // dataset, dataset_val
  void batches();    // batch sizes, epochs, seeds, ranks
  void updates();    // optimizer, schedule, loss, clipping
  void memory();     // precision, recomputation, where things lie
  void observing();  // logs, profiler
};

}  // namespace millrace
