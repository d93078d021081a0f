"""Training on images with the default options, beside other libraries."""
