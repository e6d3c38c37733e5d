package encoder

import "fmt"

// scheme gives the names that tensors have in one way of publishing a transformer. Names of linear layers and norms lack
// their ".weight" and ".bias".
type scheme struct {
	block                        string // of a block's number
	norm1, norm2                 string
	query, key, value            string // three layers, or
	qkv                          string // one layer of queries, keys and values
	inProjection                 string // the same as a pair of parameters: in_proj_weight, in_proj_bias
	out                          string
	fc1, fc2                     string
	gate                         string // a gated MLP's second layer beside fc1, or
	gateUp                       string // both in one, the gate first
	scale1, scale2               string // LayerScale
	preNorm, finalNorm           string
	patch                        string // patch embedding
	class, registers, position   string
	ropePeriods                  string
	projection                   string // [projection, width]
	projectionTransposed         string // [width, projection]
	tokens, tokenTypes, wordNorm string // of texts
	head                         string // a linear layer behind the last token, with bias
	pool                         string // of attention pooling over the patches (SigLIP)
}

func (s scheme) at(layer int) scheme {
	s.block = fmt.Sprintf(s.block, layer)
	for _, name := range []*string{&s.norm1, &s.norm2, &s.query, &s.key, &s.value, &s.qkv, &s.inProjection, &s.out,
		&s.fc1, &s.fc2, &s.gate, &s.gateUp, &s.scale1, &s.scale2} {
		if *name != "" {
			*name = s.block + *name
		}
	}
	return s
}

var clipBlocks = scheme{
	norm1: "layer_norm1", norm2: "layer_norm2",
	query: "self_attn.q_proj", key: "self_attn.k_proj", value: "self_attn.v_proj", out: "self_attn.out_proj",
	fc1: "mlp.fc1", fc2: "mlp.fc2",
}

var openCLIPBlocks = scheme{
	norm1: "ln_1", norm2: "ln_2", inProjection: "attn.in_proj_", out: "attn.out_proj", fc1: "mlp.c_fc", fc2: "mlp.c_proj",
}

var bertBlocks = scheme{
	query: "attention.attention.query", key: "attention.attention.key", value: "attention.attention.value",
	out: "attention.output.dense",
}

func clipVisionScheme() scheme {
	s := clipBlocks
	s.block = "vision_model.encoder.layers.%d."
	s.patch, s.class = "vision_model.embeddings.patch_embedding", "vision_model.embeddings.class_embedding"
	s.position = "vision_model.embeddings.position_embedding.weight"
	s.preNorm, s.finalNorm = "vision_model.pre_layrnorm", "vision_model.post_layernorm"
	s.projection = "visual_projection.weight"
	return s
}

func clipTextScheme() scheme {
	s := clipBlocks
	s.block = "text_model.encoder.layers.%d."
	s.tokens, s.position = "text_model.embeddings.token_embedding.weight", "text_model.embeddings.position_embedding.weight"
	s.finalNorm, s.projection = "text_model.final_layer_norm", "text_projection.weight"
	return s
}

func siglipVisionScheme() scheme {
	s := clipVisionScheme()
	s.class, s.preNorm, s.projection, s.pool = "", "", "", "vision_model.head."
	return s
}

func siglipTextScheme() scheme {
	s := clipTextScheme()
	s.projection, s.head = "", "text_model.head"
	return s
}

func openCLIPVisionScheme() scheme {
	s := openCLIPBlocks
	s.block = "visual.transformer.resblocks.%d."
	s.patch, s.class, s.position = "visual.conv1", "visual.class_embedding", "visual.positional_embedding"
	s.preNorm, s.finalNorm, s.projectionTransposed = "visual.ln_pre", "visual.ln_post", "visual.proj"
	return s
}

func openCLIPTextScheme() scheme {
	s := openCLIPBlocks
	s.block = "transformer.resblocks.%d."
	s.tokens, s.position = "token_embedding.weight", "positional_embedding"
	s.finalNorm, s.projectionTransposed = "ln_final", "text_projection"
	return s
}

func vitScheme(prefix string) scheme {
	s := bertBlocks
	s.block = prefix + "encoder.layer.%d."
	s.norm1, s.norm2, s.fc1, s.fc2 = "layernorm_before", "layernorm_after", "intermediate.dense", "output.dense"
	s.patch, s.class = prefix+"embeddings.patch_embeddings.projection", prefix+"embeddings.cls_token"
	s.position, s.finalNorm = prefix+"embeddings.position_embeddings", prefix+"layernorm"
	return s
}

func dinov2Scheme(prefix string) scheme {
	s := vitScheme(prefix)
	s.norm1, s.norm2, s.fc1, s.fc2 = "norm1", "norm2", "mlp.fc1", "mlp.fc2"
	s.gateUp = "mlp.weights_in"
	s.scale1, s.scale2 = "layer_scale1.lambda1", "layer_scale2.lambda1"
	s.registers = prefix + "embeddings.register_tokens"
	return s
}

func dinov3Scheme(prefix string) scheme {
	return scheme{
		block: prefix + "layer.%d.", norm1: "norm1", norm2: "norm2",
		query: "attention.q_proj", key: "attention.k_proj", value: "attention.v_proj", out: "attention.o_proj",
		fc1: "mlp.up_proj", fc2: "mlp.down_proj", gate: "mlp.gate_proj",
		scale1: "layer_scale1.lambda1", scale2: "layer_scale2.lambda1",
		patch: prefix + "embeddings.patch_embeddings", class: prefix + "embeddings.cls_token",
		registers: prefix + "embeddings.register_tokens", finalNorm: prefix + "norm",
	}
}

// timmScheme is how timm, DINOv2, DINOv3 and EUPE publish their own checkpoints.
func timmScheme() scheme {
	return scheme{
		block: "blocks.%d.", norm1: "norm1", norm2: "norm2", qkv: "attn.qkv", out: "attn.proj",
		fc1: "mlp.fc1", fc2: "mlp.fc2", gateUp: "mlp.w12", scale1: "ls1.gamma", scale2: "ls2.gamma",
		patch: "patch_embed.proj", class: "cls_token", registers: "register_tokens", position: "pos_embed",
		ropePeriods: "rope_embed.periods", finalNorm: "norm",
	}
}

func bertScheme(prefix string) scheme {
	return scheme{
		block: prefix + "encoder.layer.%d.", norm1: "attention.output.LayerNorm", norm2: "output.LayerNorm",
		query: "attention.self.query", key: "attention.self.key", value: "attention.self.value", out: "attention.output.dense",
		fc1: "intermediate.dense", fc2: "output.dense",
		tokens: prefix + "embeddings.word_embeddings.weight", position: prefix + "embeddings.position_embeddings.weight",
		tokenTypes: prefix + "embeddings.token_type_embeddings.weight", wordNorm: prefix + "embeddings.LayerNorm",
	}
}
