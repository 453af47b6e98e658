// Encodings of captions that sd-scripts' files beside the pictures have, or will have.
#pragma once

#include <torch/types.h>

#include <optional>
#include <string>
#include <vector>

#include "diffusion/flux_batch.h"
#include "diffusion/flux_setup.h"
#include "diffusion/kohya_picture_caches.h"

namespace millrace {

class KohyaTexts {
 public:
  // Both must outlive this.
  KohyaTexts(KohyaPictureCaches& caches, const CaptionEncoders& encoders) : caches_(caches), encoders_(encoders) {}

  // Gives the batch its captions and their encodings: those that the files have, the others from the encoders, which
  // are written where the caches say so. Files have the encodings of frozen encoders: a trained one encodes the
  // captions as it is now, and not at all for training, as in encode_captions(). pictures: of the captions; none for
  // the caption of a dummy. On every rank, since the encoders' weights may be split over them. Throws DataError for a
  // file of other sizes than the encoders' that may not be written anew.
  void encode(const std::vector<const Picture*>& pictures, std::vector<std::string> captions, bool for_training,
              FluxBatch& batch);

 private:
  std::optional<KohyaText> read(const Picture& picture, const std::string& caption);

  KohyaPictureCaches& caches_;
  const CaptionEncoders& encoders_;
  torch::Tensor example_1TX_, example_1V_;  // sizes and dtypes of the encoders
};

}  // namespace millrace
