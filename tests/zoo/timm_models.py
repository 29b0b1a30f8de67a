"""timm: one small variant of each of its families."""

from __future__ import annotations

from functools import partial

import torch

from zoo.case import Case, Parts, Size
from zoo.packages import package

NAMES = """
    beit_base_patch16_224 botnet26t_256 halonet26t gcresnext26ts cait_xxs24_224 coat_tiny convit_tiny
    convnext_atto convnext_atto_rms convnextv2_atto crossvit_tiny_240 cs3darknet_focus_s cspresnet50 davit_tiny
    deit_tiny_patch16_224 deit3_small_patch16_224 densenet121 dla34 dpn48b edgenext_xx_small efficientformer_l1
    efficientformerv2_s0 efficientnet_b0 tf_mixnet_s mnasnet_small efficientvim_m1 efficientvit_b0 efficientvit_m0
    eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny ghostnetv2_100 hardcorenas_a
    hgnetv2_b0 hiera_tiny_224 hrnet_w18_small inception_next_atto inception_v3 lcnet_050 levit_128s mambaout_femto
    maxvit_pico_rw_256 coatnet_pico_rw_224 poolformer_s12 caformer_s18 mixer_s32_224 gmixer_12_224 gmlp_ti16_224
    resmlp_12_224 mobilenetv3_small_100 mobilevit_xxs mobilevitv2_050 mvitv2_tiny nest_tiny nf_regnet_b0
    nf_resnet26 dm_nfnet_f0 pit_ti_224 pvt_v2_b0 rdnet_tiny regnety_002 regnetx_002 repghostnet_050 repvit_m0_9
    repvgg_a0 res2net50_14w_8s resnest14d resnet18 resnet26d seresnext26d_32x4d ecaresnet26t resnetv2_50
    rexnet_100 selecsls42 legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs
    swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 tiny_vit_5m_224 tnt_s_patch16_224 tresnet_m twins_pcpvt_small
    twins_svt_small vgg11 vgg11_bn visformer_tiny vit_tiny_patch16_224 vit_relpos_small_patch16_224 volo_d1_224
    ese_vovnet19b_slim xception41 xcit_nano_12_p16_224
""".split()  # noqa: SIM905 - a list of a hundred strings is a hundred lines
LEAST = {"inception_v3": 96, "halonet26t": 256}


def cases() -> list[Case]:
    timm = package("timm")
    return [] if timm is None else [Case(f"timm:{name}", partial(built, timm, name)) for name in NAMES]


def built(timm: object, name: str, size: Size) -> Parts:
    """timm's network of this name, and a batch that it takes."""
    model = timm.create_model(name, num_classes=10)  # type: ignore[attr-defined]
    facts = model.pretrained_cfg
    side = facts["input_size"][-1] if facts.get("fixed_input_size") else max(size.pixels, LEAST.get(name, 32))
    return Parts(
        model, (torch.randn(max(2, size.batch // 2), 3, side, side), torch.randint(10, (max(2, size.batch // 2),)))
    )
