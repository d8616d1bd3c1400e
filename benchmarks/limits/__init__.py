"""Which link of DSR loses how much: a trained model with each link replaced by an oracle.

python -m benchmarks.limits runs/small /data/tiles --out runs/small_limits

DSR decodes an image twice from its codes: I_gen as it is, I_spc as it would be without a defect.
The detector finds where they differ. A defect is missed when I_gen does not draw it, when the codes
of I_spc are not restored, when I_spc is drawn badly from restored codes, when the detector does not
see a difference that is there, or when one number for a whole image is read badly off the map. The
tables look at one of these links each. They are printed as Markdown and written into a folder as
``limits.md``, ``limits.json`` and ``limits.png``.

``I_spc`` of an image stands for one of four pictures:

- *restored*: the model's own, from codes that went through the restrictions;
- *undisturbed*: the same, but of the codes before an anomaly was drawn into them;
- *codes*: drawn by the object decoder from the undisturbed codes themselves, as a perfect
  restriction would hand them over. What it lacks, codes and object decoder lose (the decoder was
  trained on restored codes, though, and may draw those better);
- *I*: the image itself, as a perfect restriction and a perfect decoder would have it.

``bands``
    Error of the pictures on good test images by the wavelength of what is drawn: octaves of the
    two-dimensional DCT. *Relative* is the error's power over the power of I in the band: 0 is a
    copy, 1 is what a picture gets that shows nothing of the band, above 1 the band is worse than
    nothing. *PSNR* is that of the band's part of the mean squared error, in dB for a white of 1;
    the parts sum up to the whole error. The hi codes stand every 4 pixels and the lo codes every 8,
    so that what is shorter than 8 or 16 pixels must come from what single codes depict. ``all``
    leaves the mean out of the relative error, but not out of the PSNR.

``errors``
    PSNR of the pictures against I with drawn feature anomalies in the codes, inside and outside of
    the detector's target mask. I_gen should be far from I inside. I_spc (restored) should be as
    near as I_spc (undisturbed) there: the difference is what the restrictions fail to restore. Rows
    are those of ``drawn``.

``drawn``
    The model's own detector on drawn anomalies that it never saw: pixel AP of M against the target
    mask and image AUROC of the model's score, over each image once with and once without an
    anomaly. Columns say what takes the place of I_spc. The first row draws as training does, with
    another key; each other row changes one thing: the strength, the level, or the mask. The
    detector never saw a specific image as sharp as I: where *I* is worse than *codes*, this is why.

``ring`` and ``good``
    How far real defects of the test part stand out, class by class, as effect sizes: the difference
    of the means over the pooled deviation, where each image gives one number, the mean of a map
    inside its mask. ``ring`` compares it with a ring around the mask, ``good`` with the same mask
    laid on good images. Above 0.8 counts as large. What stands out in I but not in I_gen is lost by
    the codes; what stands out in I_gen but not in |I_gen - I_spc| is lost by I_spc.

``pixels``
    The same maps as if they were detectors: AUROC and AP of all pixels of the test part.

``ceilings``
    The model's detector, trained on with the real defects of one half of the test part, evaluated
    on the other, everything else frozen: mean over both halves, and each half. It shows what the
    pair of pictures could tell a detector that knew what defects look like. The model row is the
    model's own M on the same halves. The gap to (I_spc, I_gen) belongs to the anomalies that the
    detector was trained on, the gap from there to the inputs with I to the pictures. These are no
    upper bounds in earnest: a few hundred steps on half a test part do not make a perfect detector.

``scores``
    Image AUROC on the test part of maxima of local means of a map, over windows of several sizes.
    *Standardised* maps have their mean over good training images taken off at each place and are
    divided by their deviation there, so that a place that is always bright counts less.

``combined``
    Image AUROC of the model's score with its 95 % interval, and of means of several scores, each
    in units of its deviation over the same good training images.

``neighbours``
    Image AUROC of the distance from a module's features to the nearest ones of good training
    images, over 16 x 16 places, as it is and standardised place by place. It shows whether a module
    tells more apart than its output says. One half of the good images is the bank, the other sets
    the standard.
"""
