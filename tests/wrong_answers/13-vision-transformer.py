"""Plausible wrong answers to the exercises of chapters/13-vision-transformer.ipynb."""

import torch
import torch.nn.functional as F

from attn_utils.positional import sinusoidal_encoding


def without_class_token(height, width, patch, num_heads, num_layers):
    tokens = (height // patch) * (width // patch)
    return tokens, num_layers * num_heads * tokens**2


def patches_are_pixels(height, width, patch, num_heads, num_layers):
    tokens = 1 + height * width // patch
    return tokens, num_layers * num_heads * tokens**2


def square_images_only(height, width, patch, num_heads, num_layers):
    tokens = 1 + (height // patch) ** 2
    return tokens, num_layers * num_heads * tokens**2


def one_head(height, width, patch, num_heads, num_layers):
    tokens = 1 + (height // patch) * (width // patch)
    return tokens, num_layers * tokens**2


def one_layer(height, width, patch, num_heads, num_layers):
    tokens = 1 + (height // patch) * (width // patch)
    return tokens, num_heads * tokens**2


def tokens_not_pairs(height, width, patch, num_heads, num_layers):
    tokens = 1 + (height // patch) * (width // patch)
    return tokens, num_layers * num_heads * tokens


def class_row_only(height, width, patch, num_heads, num_layers):
    patches = (height // patch) * (width // patch)
    return 1 + patches, num_layers * num_heads * (1 + patches) * patches


def run(model, images, x):
    for layer in model.layers:
        x, _ = layer(x)
    return x


def patch_tokens(model, images):
    return model.patches(images).flatten(2).transpose(1, 2)


def with_class(model, images):
    first = model.class_token.expand(len(images), 1, -1)
    x = torch.cat([first, patch_tokens(model, images)], dim=1) + model.positions
    return run(model, images, x)


def class_token_answers(model, images):
    return model(images)[0]


def mean_over_all(model, images):
    return model.head(model.norm(with_class(model, images)).mean(dim=1))


def class_token_still_listens(model, images):
    return model.head(model.norm(with_class(model, images))[:, 1:].mean(dim=1))


def positions_from_the_class_on(model, images):
    x = run(model, images, patch_tokens(model, images) + model.positions[:-1])
    return model.head(model.norm(x).mean(dim=1))


def without_positions(model, images):
    x = run(model, images, patch_tokens(model, images))
    return model.head(model.norm(x).mean(dim=1))


def mean_before_norm(model, images):
    x = run(model, images, patch_tokens(model, images) + model.positions[1:])
    return model.head(model.norm(x.mean(dim=1)))


def without_norm(model, images):
    x = run(model, images, patch_tokens(model, images) + model.positions[1:])
    return model.head(x.mean(dim=1))


def largest(model, images):
    x = run(model, images, patch_tokens(model, images) + model.positions[1:])
    return model.head(model.norm(x).amax(dim=1))


def without_head(model, images):
    x = run(model, images, patch_tokens(model, images) + model.positions[1:])
    return model.norm(x).mean(dim=1)


def stretched(positions, old, new, mode="bilinear"):
    picture = positions[1:].T.unflatten(1, old)[None]
    corners = {} if mode == "nearest" else {"align_corners": False}
    picture = F.interpolate(picture, size=new, mode=mode, **corners)
    return torch.cat([positions[:1], picture[0].flatten(1).T])


def nearest(positions, old, new):
    return stretched(positions, old, new, "nearest")


def bicubic(positions, old, new):
    return stretched(positions, old, new, "bicubic")


def along_the_table(positions, old, new):
    line = positions[1:].T[None]  # (1, E, n)
    line = F.interpolate(line, size=new[0] * new[1], mode="linear")
    return torch.cat([positions[:1], line[0].T])


def without_the_class_row(positions, old, new):
    return stretched(positions, old, new)[1:]


def class_row_stretched_too(positions, old, new):
    line = F.interpolate(positions.T[None], size=1 + new[0] * new[1], mode="linear")
    return line[0].T


def columns_first(positions, old, new):
    picture = positions[1:].T.unflatten(1, (old[1], old[0])).mT[None]
    picture = F.interpolate(picture, size=new, mode="bilinear")
    return torch.cat([positions[:1], picture[0].flatten(1).T])


def read_in_columns(positions, old, new):
    picture = positions[1:].T.unflatten(1, old)[None]
    picture = F.interpolate(picture, size=new, mode="bilinear")
    return torch.cat([positions[:1], picture[0].mT.flatten(1).T])


def features_into_places(positions, old, new):
    picture = positions[1:].reshape(1, -1, *old)
    picture = F.interpolate(picture, size=new, mode="bilinear")
    return torch.cat([positions[:1], picture.reshape(-1, positions.shape[1])])


def one_dimension(rows, columns, embed_dim):
    return sinusoidal_encoding(rows * columns, embed_dim)


def halves_swapped(rows, columns, embed_dim):
    down = sinusoidal_encoding(rows, embed_dim // 2).repeat_interleave(columns, dim=0)
    across = sinusoidal_encoding(columns, embed_dim // 2).repeat(rows, 1)
    return torch.cat([across, down], dim=1)


def column_by_column(rows, columns, embed_dim):
    down = sinusoidal_encoding(rows, embed_dim // 2).repeat(columns, 1)
    across = sinusoidal_encoding(columns, embed_dim // 2).repeat_interleave(rows, dim=0)
    return torch.cat([down, across], dim=1)


def both_repeated(rows, columns, embed_dim):
    down = sinusoidal_encoding(rows, embed_dim // 2).repeat(columns, 1)
    across = sinusoidal_encoding(columns, embed_dim // 2).repeat(rows, 1)
    return torch.cat([down, across], dim=1)


def added(rows, columns, embed_dim):
    down = sinusoidal_encoding(rows, embed_dim).repeat_interleave(columns, dim=0)
    return down + sinusoidal_encoding(columns, embed_dim).repeat(rows, 1)


def cut_in_half(rows, columns, embed_dim):
    down = sinusoidal_encoding(rows, embed_dim)[:, : embed_dim // 2]
    across = sinusoidal_encoding(columns, embed_dim)[:, embed_dim // 2 :]
    return torch.cat([down.repeat_interleave(columns, dim=0), across.repeat(rows, 1)], dim=1)


def as_a_grid(rows, columns, embed_dim):
    down = sinusoidal_encoding(rows, embed_dim // 2)[:, None].expand(-1, columns, -1)
    across = sinusoidal_encoding(columns, embed_dim // 2)[None].expand(rows, -1, -1)
    return torch.cat([down, across], dim=2)


WRONG = {
    "check_count": [
        without_class_token,
        patches_are_pixels,
        square_images_only,
        one_head,
        one_layer,
        tokens_not_pairs,
        class_row_only,
    ],
    "check_mean_logits": [
        class_token_answers,
        mean_over_all,
        class_token_still_listens,
        positions_from_the_class_on,
        without_positions,
        mean_before_norm,
        without_norm,
        largest,
        without_head,
    ],
    "check_stretch": [
        nearest,
        bicubic,
        along_the_table,
        without_the_class_row,
        class_row_stretched_too,
        columns_first,
        read_in_columns,
        features_into_places,
    ],
    "check_sinusoids_2d": [
        one_dimension,
        halves_swapped,
        column_by_column,
        both_repeated,
        added,
        cut_in_half,
        as_a_grid,
    ],
}
